// One body, compiled for several instruction sets and chosen at load time. Contraction to fused multiply-adds is
// off (see CMakeLists.txt), so all of them give the same numbers.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(NALSM_SINGLE_TARGET)
#define NALSM_VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define NALSM_VECTOR
#endif
