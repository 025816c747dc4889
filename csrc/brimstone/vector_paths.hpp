#pragma once

/// Compiles a function once for each of these instruction sets and picks one when the program starts.
/// Floating-point contraction is off and no sum is reordered, so that every path gives bitwise the same
/// result.
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define BRIMSTONE_VECTOR_PATHS __attribute__((target_clones("avx512f", "avx2", "default")))
#define BRIMSTONE_INLINE __attribute__((always_inline)) inline
#else
#define BRIMSTONE_VECTOR_PATHS
#define BRIMSTONE_INLINE inline
#endif
