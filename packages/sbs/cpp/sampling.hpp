// From patches to spikes: cumulative distribution, search tree, draws. Included after one vector header.
#pragma once

#include <cmath>

#include "patches.hpp"

namespace sbs {
namespace {

constexpr float kAbove = 2.0F;        // padding of cumulative values, above every number drawn
constexpr std::int64_t kSmall = 128;  // entries of a permuted table, on every instruction set

enum class Patch { good, empty, bad };

// cdf[k] = float(sum of the first k + 1 in double) / float(sum of all): the rounding of the original.
inline Patch fill_tree(const Problem& p, const Tree& tree, const float* patch, float* table) {
  const std::int64_t count = p.choices(), size = p.by_channel() ? p.kernel_size() : 1;
  double total = 0.0;
  bool good = true;
  for (std::int64_t k = 0, i = 0; k < count; ++k) {
    for (std::int64_t e = 0; e < size; ++e, ++i) {
      good = good && patch[i] >= 0.0F;
      total += static_cast<double>(patch[i]);
    }
    table[k] = static_cast<float>(total);
  }
  const float last = table[count - 1];
  if (!good || !std::isfinite(last)) return Patch::bad;
  if (!(last > 0.0F)) return Patch::empty;
  for (std::int64_t k = 0; k < count; ++k) table[k] /= last;
  std::int64_t below = count;
  for (int level = 0; level < tree.depth; ++level) {
    float* values = table + tree.start[level];
    const std::int64_t here = level == 0 ? count : (below + kLanes - 1) / kLanes;
    const std::int64_t padded = (here + kLanes - 1) / kLanes * kLanes;
    if (level > 0) {
      const float* lower = table + tree.start[level - 1];
      for (std::int64_t k = 0; k < here; ++k) values[k] = lower[k * kLanes + kLanes - 1];
    }
    for (std::int64_t k = here; k < padded; ++k) values[k] = kAbove;
    below = here;
  }
  return Patch::good;
}

// First k with cdf[k] > u.
inline std::int32_t search_upper(const Tree& tree, const float* table, float u) {
  std::int32_t k = 0;
  for (int level = tree.depth - 1; level >= 0; --level)
    k = k * kLanes + count_not_above(table + tree.start[level] + static_cast<std::int64_t>(k) * kLanes, u);
  return k;
}

// First k with cdf[k] >= u, the rule of the original.
inline std::int32_t search_lower(const float* table, std::int64_t count, float u) {
  std::int64_t first = 0;
  while (count > 0) {
    const std::int64_t half = count / 2;
    const bool right = table[first + half] < u;
    first = right ? first + half + 1 : first;
    count = right ? count - half - 1 : half;
  }
  return static_cast<std::int32_t>(first);
}

#if defined(__AVX2__)
// Up to kSeparators values: a binary search whose separators sit in registers, one vector of draws side by side. Entry
// e of the permuted table is the separator of node e; the children of e are 2 e and 2 e + 1.
#if defined(__AVX512F__)
constexpr std::int64_t kSeparators = 128;
#else
constexpr std::int64_t kSeparators = 64;
#endif

inline int small_depth(std::int64_t count) {
  int depth = 1;
  while ((std::int64_t{1} << depth) < count) ++depth;
  return depth;
}

// Which level of the tree the permuted table is made of: the values, or the last of every 16.
inline int permuted_level(std::int64_t count) { return count <= kSeparators ? 0 : 1; }
inline bool permutable(std::int64_t count) { return count <= kSeparators * kLanes; }

inline void permute(const Tree& tree, const float* values, std::int64_t count, float* nodes) {
  if (!permutable(count)) return;
  const float* table = values + tree.start[permuted_level(count)];
  if (permuted_level(count) == 1) count = (count + kLanes - 1) / kLanes;
  const int depth = small_depth(count);
  nodes[0] = kAbove;
  for (int level = 0; level < depth; ++level) {
    const std::int64_t width = std::int64_t{1} << (depth - 1 - level);
    for (std::int64_t k = 0; k < (std::int64_t{1} << level); ++k) {
      const std::int64_t index = (2 * k + 1) * width - 1;
      nodes[(std::int64_t{1} << level) + k] = index < count ? table[index] : kAbove;
    }
  }
}

#if defined(__AVX512F__)
template <int Depth>
inline void search_small(const float* nodes, const float* u, std::int32_t* spikes) {
  __m512 t[8];
  for (int k = 0; k < (Depth <= 4 ? 1 : 1 << (Depth - 4)); ++k) t[k] = _mm512_loadu_ps(nodes + 16 * k);
  const __m512i one = _mm512_set1_epi32(1);
  for (int part = 0; part < kBlock; part += kLanes) {
    const __m512 value = _mm512_loadu_ps(u + part);
    __m512i e = one;
    for (int level = 0; level < Depth; ++level) {
      __m512 separator;
      if (level < 4) {
        separator = _mm512_permutexvar_ps(e, t[0]);
      } else if (level == 4) {
        separator = _mm512_permutexvar_ps(e, t[1]);
      } else if (level == 5) {
        separator = _mm512_permutex2var_ps(t[2], e, t[3]);
      } else {
        const __mmask16 high = _mm512_test_epi32_mask(e, _mm512_set1_epi32(32));
        separator =
            _mm512_mask_blend_ps(high, _mm512_permutex2var_ps(t[4], e, t[5]), _mm512_permutex2var_ps(t[6], e, t[7]));
      }
      const __mmask16 right = _mm512_cmp_ps_mask(separator, value, _CMP_LE_OQ);
      e = _mm512_add_epi32(e, e);
      e = _mm512_mask_add_epi32(e, right, e, one);
    }
    _mm512_storeu_si512(spikes + part, _mm512_sub_epi32(e, _mm512_set1_epi32(1 << Depth)));
  }
}

#else
// Nodes 8 k ... 8 k + 7 sit in table k, and the lowest three bits of e choose among them.
inline __m256 chosen(__m256 low, __m256 high, __m256i e, int bit) {
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(e, 31 - bit)));
}

template <int Depth>
inline void search_small(const float* nodes, const float* u, std::int32_t* spikes) {
  constexpr int kTables = Depth <= 3 ? 1 : 1 << (Depth - 3);
  __m256 t[kTables];
  for (int k = 0; k < kTables; ++k) t[k] = _mm256_loadu_ps(nodes + 8 * k);
  for (int part = 0; part < kBlock; part += 8) {
    const __m256 value = _mm256_loadu_ps(u + part);
    __m256i e = _mm256_set1_epi32(1);
    for (int level = 0; level < Depth; ++level) {
      // levels that this depth lacks name tables that it lacks
      const auto entry = [&](int k) { return _mm256_permutevar8x32_ps(t[k < kTables ? k : 0], e); };
      __m256 separator;
      if (level < 3)
        separator = entry(0);
      else if (level == 3)
        separator = entry(1);
      else if (level == 4)
        separator = chosen(entry(2), entry(3), e, 3);
      else
        separator = chosen(chosen(entry(4), entry(5), e, 3), chosen(entry(6), entry(7), e, 3), e, 4);
      const __m256i right = _mm256_castps_si256(_mm256_cmp_ps(separator, value, _CMP_LE_OQ));
      e = _mm256_sub_epi32(_mm256_add_epi32(e, e), right);  // a comparison that holds is -1
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(spikes + part), _mm256_sub_epi32(e, _mm256_set1_epi32(1 << Depth)));
  }
}
#endif

inline void search_nodes(int depth, const float* nodes, const float* u, std::int32_t* spikes) {
  switch (depth) {
    case 1:
      return search_small<1>(nodes, u, spikes);
    case 2:
      return search_small<2>(nodes, u, spikes);
    case 3:
      return search_small<3>(nodes, u, spikes);
    case 4:
      return search_small<4>(nodes, u, spikes);
    case 5:
      return search_small<5>(nodes, u, spikes);
#if defined(__AVX512F__)
    case 7:
      return search_small<7>(nodes, u, spikes);
#endif
    default:
      return search_small<6>(nodes, u, spikes);
  }
}

inline void search_block(const Problem& p, const Tree& tree, const float* table, const float* nodes, const float* u,
                         std::int32_t* spikes) {
  const std::int64_t count = p.choices();
  if (!permutable(count)) {
    for (int t = 0; t < kBlock; ++t) spikes[t] = search_upper(tree, table, u[t]);
  } else if (permuted_level(count) == 0) {
    search_nodes(small_depth(count), nodes, u, spikes);
  } else {
    search_nodes(small_depth((count + kLanes - 1) / kLanes), nodes, u, spikes);
    for (int t = 0; t < kBlock; ++t)
      spikes[t] = spikes[t] * kLanes + count_not_above(table + static_cast<std::int64_t>(spikes[t]) * kLanes, u[t]);
  }
}
#else
inline void permute(const Tree&, const float*, std::int64_t, float*) {}

inline void search_block(const Problem&, const Tree& tree, const float* table, const float*, const float* u,
                         std::int32_t* spikes) {
  for (int t = 0; t < kBlock; ++t) spikes[t] = search_upper(tree, table, u[t]);
}
#endif

// Spikes first ... first + count - 1 of one position.
inline void fill_spikes(const Problem& p, const Tree& tree, const float* table, const float* nodes,
                        std::int64_t position, std::int64_t first, int count, std::int32_t* spikes) {
  const Geometry& g = p.geometry;
  const std::int64_t area = g.out[0] * g.out[1];
  const std::int64_t start = (position / area * p.spikes + first) * area + position % area;
  if (p.given != nullptr) {
    for (int t = 0; t < count; ++t) spikes[t] = p.given[start + t * area];
  } else if (p.uniform != nullptr) {
    for (int t = 0; t < count; ++t) {
      const float u = p.uniform[start + t * area];
      spikes[t] = p.lower ? search_lower(table, p.choices(), u) : search_upper(tree, table, u);
    }
  } else {
    alignas(64) float u[kBlock];
    draw(p.seed, p.first_position + static_cast<std::uint64_t>(position), static_cast<std::uint32_t>(first / kBlock),
         u);
    search_block(p, tree, table, nodes, u, spikes);
  }
  if (p.kept != nullptr)
    for (int t = 0; t < count; ++t) p.kept[start + t * area] = spikes[t];
}

}  // namespace
}  // namespace sbs
