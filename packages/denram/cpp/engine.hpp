// The library's interface: plain C functions over borrowed arrays, called through ctypes. All return 0; 1 when memory
// runs out; 2 when the values of an array would lead outside of another; 3 when a signal handler of Python raised.
// Arrays are C-contiguous; their sizes are checked by the Python caller.
#pragma once
#include "problem.hpp"

#define DENRAM_ABI 3

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

// Instruction set in use. 2 where REPROKIT_ISA names one that is not there; the text is then a sentence for the user.
// It lives until the next call in the same thread.
__attribute__((visibility("default"))) int denram_isa(const char** text) noexcept;
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
