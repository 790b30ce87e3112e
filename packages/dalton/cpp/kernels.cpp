// The table of functions of one instruction set; compiled once for each.
#include "kernels.hpp"
#include "adjoint.hpp"

namespace dalton::CORE_ISA {

template <class T>
Kernels<T> kernels() {
  return {forward<T>, currents<T>, fire<T>, errors<T>, weight_gradient<T>, adjoint<T>, kLanes<T>};
}

template Kernels<float> kernels<float>();
template Kernels<double> kernels<double>();

}  // namespace dalton::CORE_ISA
