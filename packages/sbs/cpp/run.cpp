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

ChunkFunction chunk_function(const std::string& isa) {
#if defined(SBS_X86)
  const std::string name = isa == "auto" ? best_isa() : isa;
  if (name == "avx512") return chunk_avx512;
  if (name == "avx2") return chunk_avx2;
#else
  (void)isa;
#endif
  return chunk_portable;
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

bool has_isa(const std::string& name) {
#if defined(SBS_X86)
  if (name == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt");
#endif
  return name == "portable";
}

const char* best_isa() {
  for (const char* name : {"avx512", "avx2"})
    if (has_isa(name)) return name;
  return "portable";
}

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
