#include "vector_avx2.hpp"
// The vector header comes first.
#include "chunk.hpp"

namespace sbs {

bool chunk_avx2(const Problem& p, const Scratch& s, std::int64_t first, std::int64_t last) {
  return Chunk(p, s, first, last).run();
}

}  // namespace sbs
