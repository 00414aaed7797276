// Macros for kernels.inl, to be included first.
#pragma once

#include <cstddef>

#if defined(_MSC_VER)
#define WAIFU2X_INLINE __forceinline
#define WAIFU2X_UNROLL
#elif defined(__clang__)
#define WAIFU2X_INLINE inline __attribute__((always_inline))
#define WAIFU2X_UNROLL _Pragma("clang loop unroll(full)")
#else
#define WAIFU2X_INLINE inline __attribute__((always_inline))
#define WAIFU2X_UNROLL _Pragma("GCC unroll 32")
#endif
