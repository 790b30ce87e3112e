// The table of functions of one instruction set; included by one source file of each.
#include "adjoint.hpp"
#include "kernels.hpp"

namespace dalton::DALTON_ISA {

template <class T>
Kernels<T> kernels() {
  return {forward<T>, currents<T>, fire<T>, errors<T>, weight_gradient<T>, adjoint<T>, kLanes<T>};
}

template Kernels<float> kernels<float>();
template Kernels<double> kernels<double>();

}  // namespace dalton::DALTON_ISA
