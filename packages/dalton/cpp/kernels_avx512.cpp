#define DALTON_ISA avx512
#include "kernels_isa.hpp"
