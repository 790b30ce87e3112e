// Chunks of positions; compiled once for each instruction set.
#if defined(__AVX512F__)
#include "vector_avx512.hpp"
#elif defined(__AVX2__)
#include "vector_avx2.hpp"
#else
#include "vector_128.hpp"
#endif
// The vector header comes first.
#include "chunk.hpp"

namespace sbs::CORE_ISA {

bool work(const Problem& p, const Scratch& s, std::int64_t first, std::int64_t last) {
  return Chunk(p, s, first, last).run();
}

}  // namespace sbs::CORE_ISA
