// The library's interface: plain C functions over borrowed arrays, called through ctypes. All return 0; 1 when memory
// runs out; 2 when the values of an array would lead outside of another; 3 when a signal handler of Python raised.
// Arrays are C-contiguous; their sizes are checked by the Python caller.
#pragma once
#include "problem.hpp"

#define DENRAM_ABI 2

namespace denram {

// Three functions of Python's C interface, so that this library is built without Python: PyEval_SaveThread,
// PyEval_RestoreThread, PyErr_CheckSignals. The caller holds Python's lock; it is given back while the library works.
struct Python {
  void* (*save)();
  void (*restore)(void*);
  int (*check_signals)();
};

}  // namespace denram

extern "C" {

__attribute__((visibility("default"))) const char* denram_variant();  // instruction set in use
__attribute__((visibility("default"))) int denram_abi();

// method: 0 the one expected to be faster, 1 add single spikes, 2 transforms over time.
// windows, scores: (n_samples, n_out). currents, potentials: (steps, n_samples, n_out), or both null.
// python: null where there is none.
__attribute__((visibility("default"))) int denram_forward(const denram::Problem* problem, int method,
                                                          std::int64_t threads, denram::Window* windows, float* scores,
                                                          float* currents, float* potentials,
                                                          const denram::Python* python) noexcept;

// upstream: (n_samples, n_out), the loss's gradient with respect to the scores. gradient: shape of the weights.
__attribute__((visibility("default"))) int denram_backward(const denram::Problem* problem,
                                                           const denram::Window* windows, const float* upstream,
                                                           std::int64_t threads, float* gradient,
                                                           const denram::Python* python) noexcept;
}
