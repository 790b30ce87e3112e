#define DALTON_ISA portable
#include "kernels_isa.hpp"
