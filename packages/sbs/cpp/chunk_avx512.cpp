#define SBS_PERMUTE
#include "vector_avx512.hpp"
// The vector header comes first.
#include "chunk.hpp"

namespace sbs {

bool chunk_avx512(const Problem& p, const Scratch& s, std::int64_t first, std::int64_t last) {
  return Chunk(p, s, first, last).run();
}

}  // namespace sbs
