// What the kernels work on: sizes, constants and the table of functions that each instruction set fills.
//
// Values are (time, batch, row, column, channel), channels padded to a multiple of 64 bytes with zeros. Spikes of an
// image are one string of bits in that order, in words of 64, with at least one empty word at the end.
#pragma once

#include <cstdint>

#include "common/threads.hpp"

namespace dalton {

using Index = std::int64_t;
using Word = std::uint64_t;

// A convolution without padding; a dense layer is one with a single position whose input is flat.
struct Geometry {
  Index in_height, in_width, in_channels;     // in_channels: padded, except for the encoder's spikes
  Index kernel_height, kernel_width, stride;  // of the convolution with mean pooling folded in
  Index out_height, out_width, out_channels;  // out_channels: padded
  Index depth;                                // output channels without padding
  Index pool;                                 // side of a max-pool's windows; 1: none

  Index in_units() const { return in_height * in_width * in_channels; }
  Index out_units() const { return out_height * out_width * out_channels; }
  Index height() const { return out_height / pool; }  // after the max-pool
  Index width() const { return out_width / pool; }
  Index units() const { return height() * width() * out_channels; }
  Index rows() const { return kernel_height * kernel_width * in_channels; }
  Index in_words() const { return words(in_units()); }
  Index out_words() const { return words(units()); }
  static Index words(Index units) { return (units + 63) / 64 + 1; }
};

template <class T>
struct Neuron {
  T decay, threshold, surrogate_scale;
  bool hard_reset;
};

// What every thread calls now and then; what it throws there ends the call.
class Between {
 public:
  virtual void operator()() = 0;

 protected:
  ~Between() = default;
};

// Steps and samples of a call; image (t, b) is number t * batch + b.
struct Extent {
  Index steps, batch;
  int threads;
  Between* between = nullptr;

  void pause() const {
    if (between) (*between)();
  }
};

// Every thread calls make_worker() once and the result with each piece it takes, 0 ... pieces - 1. Who takes which is
// left to chance, so pieces must not depend on one another.
template <class MakeWorker>
void share(const Extent& extent, Index pieces, const MakeWorker& make_worker) {
  core::share(extent.threads, pieces, make_worker, [&] { extent.pause(); });
}

template <class T>
struct ForwardArguments {
  const Word* spikes;    // (steps, batch, in_words)
  const T* weight;       // (rows, out_channels)
  T scale;               // of a spike
  const Word* keep;      // dropout, (steps, batch, out_words), or null
  T *v, *c;              // states (batch, out_units), changed; null: from rest
  T* potentials;         // result u (steps, batch, out_units)
  Word* emitted;         // result (steps, batch, out_words)
  std::int64_t* counts;  // result (batch): spikes before dropout
};

template <class T>
struct ErrorArguments {
  const T* potentials;  // u (steps, batch, units)
  T* z;                 // dLoss/d(spikes passed on) / scale; becomes e = dLoss/dI
  const Word* keep;     // dropout, (steps, batch, words), or null
  T scale;              // g = scale * keep * z
  T* transferred;       // result sigma'(delta) z, or null
  bool rectify;         // 0 there where u < 0
  T transfer_scale;     // there: a factor and, where it is not 0, the dropout
};

template <class T>
struct Kernels {
  // A layer without max-pool: currents and neurons in one.
  void (*forward)(const Geometry&, const Neuron<T>&, const Extent&, const ForwardArguments<T>&);
  // Currents only: result (steps, batch, units), and with a max-pool its switches, as many.
  void (*currents)(const Geometry&, const Extent&, const Word* spikes, const T* weight, T scale, T* result,
                   std::uint8_t* switches);
  // Neurons only: currents in `potentials` become u.
  void (*fire)(Index units, const Neuron<T>&, const Extent&, const ForwardArguments<T>&);
  void (*errors)(Index units, const Neuron<T>&, const Extent&, const ErrorArguments<T>&);
  // sum over images of spikes x errors, added to (rows, out_channels); errors go through the switches of a max-pool.
  void (*weight_gradient)(const Geometry&, const Extent&, const Word* spikes, const T* errors,
                          const std::uint8_t* switches, T* result);
  // A^T e: (images, in_units). weight: (panel, tap, depth, panel width).
  void (*adjoint)(const Geometry&, const Extent&, Index panel_vectors, const T* weight, const T* errors,
                  const std::uint8_t* switches, T* result);
  Index lanes;  // values of one vector
};

namespace avx512 {
template <class T>
Kernels<T> kernels();
}
namespace avx2 {
template <class T>
Kernels<T> kernels();
}
namespace portable {
template <class T>
Kernels<T> kernels();
}

}  // namespace dalton
