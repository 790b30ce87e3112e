// One chunk of positions from patch to h. Included after one vector header.
#pragma once

#include "common/denormals.hpp"
#include "dynamics.hpp"
#include "sampling.hpp"

namespace sbs {
namespace {

// h = u / sum u; the sum is the scale in exact arithmetic.
inline void finish(const Problem& p, const float* u, float* h) {
  F16 total = load(u);
  for (std::int64_t v = 1; v < p.vectors; ++v) total = total + load(u + 16 * v);
  const float mass = sum(total);
  for (std::int64_t j = 0; j < p.neurons; ++j) h[j] = u[j] / mass;
}

class Chunk {
 public:
  Chunk(const Problem& p, const Scratch& s, std::int64_t first, std::int64_t last)
      : p_(p), s_(s), first_(first), count_(static_cast<int>(last - first)), tree_(p.choices()) {}

  bool run() {
    if (!prepare()) return false;
    const bool pooling = p_.one_hot && !(p_.forgetting > 0.0F);
    if (!pooling) set_groups();
    for (std::int64_t start = 0; start < p_.spikes; start += kBlock) {
      const int count = static_cast<int>(p_.spikes - start < kBlock ? p_.spikes - start : kBlock);
      for (int lane = 0; lane < count_; ++lane) spikes_of(lane, start, count);
      const core::DenormalsAreZero fast;
      if (pooling) {
        pool_all(start, count);
      } else {
        if (p_.given != nullptr) shorten(start, count);
        if (p_.forgetting > 0.0F)
          iterate<true>(p_, groups_, number_, start, count);
        else
          iterate<false>(p_, groups_, number_, start, count);
      }
    }
    for (int lane = 0; lane < count_; ++lane) {
      float* h = p_.h + (first_ + lane) * p_.neurons;
      if (empty_[lane])
        for (std::int64_t j = 0; j < p_.neurons; ++j) h[j] = p_.h_initial[j];
      else
        finish(p_, u(lane), h);
    }
    return true;
  }

 private:
  float* u(int lane) const { return s_.u + lane * p_.vectors * kLanes; }
  std::int32_t* spikes(int lane) const { return s_.spikes + lane * kBlock; }
  float* epsilon(int lane) const { return s_.epsilon + lane * p_.epsilon_width; }
  float* table(int lane) const { return s_.tree + lane * tree_.size; }
  float* nodes(int lane) const { return s_.permuted + lane * kSmall; }
  int padded() const {
    return p_.chunk() < kLanes ? static_cast<int>(p_.chunk()) : (count_ + kLanes - 1) / kLanes * kLanes;
  }

  bool prepare() {
    const Geometry& g = p_.geometry;
    const std::int64_t area = g.out[0] * g.out[1], width = p_.vectors * kLanes;
    for (int lane = 0; lane < padded(); ++lane) {
      for (std::int64_t j = 0; j < width; ++j) u(lane)[j] = p_.h_initial[j];
      for (int t = 0; t < kBlock; ++t) spikes(lane)[t] = 0;
      pool_scale_[lane] = 1.0F;
      empty_[lane] = lane >= count_;
    }
    for (int lane = 0; lane < (padded() < kLanes ? kLanes : padded()); ++lane) {
      const std::int64_t place = lane < count_ ? (first_ + lane) % area : 0;
      for (std::int64_t e = 0; e < p_.epsilon_width; ++e)
        epsilon(lane)[e] = p_.epsilon_xy[place * p_.epsilon_width + e];
    }
    for (int lane = 0; lane < count_; ++lane) {
      cut_patch(g, p_.image, p_.offset, p_.components, first_ + lane, s_.patch);
      const Patch kind = fill_tree(p_, tree_, s_.patch, table(lane));
      if (kind == Patch::bad) return false;
      empty_[lane] = kind == Patch::empty;
      if (kind == Patch::good) permute(tree_, table(lane), p_.choices(), nodes(lane));
    }
    return true;
  }

  void pool_all(std::int64_t start, int count) {
    Pooled group[kPooled];
    for (int first = 0; first < count_; first += kPooled) {
      const int number = count_ - first < kPooled ? count_ - first : kPooled;
      for (int k = 0; k < number; ++k)
        group[k] = {u(first + k), spikes(first + k), epsilon(first + k), pool_scale_[first + k]};
      if (number == kPooled)
        pool<kPooled>(p_, group, start, count);
      else
        for (int k = 0; k < number; ++k) pool<1>(p_, group + k, start, count);
      for (int k = 0; k < number; ++k) pool_scale_[first + k] = group[k].scale;
    }
  }

  void set_groups() {
    number_ = (count_ + kLanes - 1) / kLanes;
    alignas(64) float length[kLanes];
    for (int k = 0; k < number_; ++k) {
      Group& g = groups_[k];
      const int first = k * kLanes;
      g.active = count_ - first < kLanes ? count_ - first : kLanes;
      g.u = u(first);
      g.spikes = spikes(first);
      g.epsilon = epsilon(first);
      g.scale = all(1.0F);
      for (int lane = 0; lane < kLanes; ++lane)
        length[lane] = lane < g.active && !empty_[first + lane] ? static_cast<float>(p_.spikes) : 0.0F;
      g.length = load(length);
    }
  }

  void spikes_of(int lane, std::int64_t start, int count) {
    if (empty_[lane]) {
      // Pooling leaves out negative spikes; the others look at the length.
      for (int t = 0; t < kBlock; ++t) spikes(lane)[t] = p_.one_hot && !(p_.forgetting > 0.0F) ? -1 : 0;
      if (p_.kept != nullptr) {
        const std::int64_t area = p_.geometry.out[0] * p_.geometry.out[1], position = first_ + lane;
        for (int t = 0; t < count; ++t)
          p_.kept[(position / area * p_.spikes + start + t) * area + position % area] = -1;
      }
      return;
    }
    fill_spikes(p_, tree_, table(lane), nodes(lane), first_ + lane, start, count, spikes(lane));
    if (p_.given == nullptr) return;
    for (int t = 0; t < count; ++t) {
      ended_[lane] = ended_[lane] || spikes(lane)[t] < 0;
      if (ended_[lane]) spikes(lane)[t] = -1;
    }
  }

  // Given trains may end early, at a negative spike.
  void shorten(std::int64_t start, int count) {
    alignas(64) float length[kLanes];
    for (int k = 0; k < number_; ++k) {
      store(length, groups_[k].length);
      for (int lane = 0; lane < groups_[k].active; ++lane) {
        std::int32_t* train = spikes(k * kLanes + lane);
        for (int t = 0; t < count; ++t) {
          if (train[t] >= 0) continue;
          const float here = static_cast<float>(start + t);
          length[lane] = length[lane] < here ? length[lane] : here;
          train[t] = 0;
        }
      }
      groups_[k].length = load(length);
    }
  }

  const Problem& p_;
  const Scratch& s_;
  std::int64_t first_;
  int count_;
  Tree tree_;
  int number_ = 0;
  Group groups_[2];
  float pool_scale_[2 * kLanes];
  bool empty_[2 * kLanes];
  bool ended_[2 * kLanes] = {};
};

}  // namespace
}  // namespace sbs
