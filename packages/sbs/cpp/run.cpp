#include "run.hpp"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "common/threads.hpp"
#include "patches.hpp"

namespace sbs {
namespace {

ChunkFunction chunk_function([[maybe_unused]] const std::string& isa) {
#if defined(CORE_X86)
  if (isa == "avx512") return avx512::work;
  if (isa == "avx2") return avx2::work;
#endif
  return portable::work;
}

// Memory of one thread, aligned to cache lines.
class Memory {
 public:
  explicit Memory(const Problem& p) {
    const Tree tree(p.choices());
    const std::int64_t chunk = p.chunk(), width = p.vectors * kLanes, lanes = chunk < kLanes ? kLanes : chunk;
    const std::int64_t sizes[6] = {chunk * tree.size, chunk * 128,    chunk * width,
                                   p.components,      chunk * kBlock, lanes * p.epsilon_width};
    std::int64_t start[7] = {0};
    for (int k = 0; k < 6; ++k) start[k + 1] = start[k] + (sizes[k] + kLanes - 1) / kLanes * kLanes;
    data_.reset(static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(start[6]) * sizeof(float))));
    if (data_ == nullptr) return;
    float* base = data_.get();
    scratch = {base + start[0],
               base + start[1],
               base + start[2],
               base + start[3],
               reinterpret_cast<std::int32_t*>(base + start[4]),
               base + start[5]};
  }
  bool ready() const { return data_ != nullptr; }
  Scratch scratch{};

 private:
  struct Free {
    void operator()(float* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<float, Free> data_;
};

}  // namespace

bool run(const Problem& problem, int threads, const std::string& isa, const Between& between) {
  const ChunkFunction work = chunk_function(isa);
  const std::int64_t chunk = problem.chunk(), positions = problem.positions();
  std::atomic<bool> good{true};
  core::share(
      threads, (positions + chunk - 1) / chunk,
      [&] {
        auto memory = std::make_unique<Memory>(problem);
        if (!memory->ready()) throw std::bad_alloc();
        return [&, memory = std::move(memory)](std::int64_t piece) {
          if (!good) return;
          const std::int64_t first = piece * chunk, last = first + chunk < positions ? first + chunk : positions;
          if (!work(problem, memory->scratch, first, last)) good = false;
        };
      },
      between);
  return good;
}

void cut_patches(const Geometry& geometry, const float* image, const std::int64_t* offset, std::int64_t components,
                 float* out, int threads, const Between& between) {
  const std::int64_t rows = geometry.out[1], pieces = geometry.samples * geometry.out[0];
  core::share(
      threads, pieces,
      [&] {
        return [&](std::int64_t piece) {
          for (std::int64_t position = piece * rows; position < (piece + 1) * rows; ++position)
            cut_patch(geometry, image, offset, components, position, out + position * components);
        };
      },
      between);
}

}  // namespace sbs
