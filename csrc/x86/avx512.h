// The target switch of the AVX-512 files. As in x86/avx2.h, include all headers first.
#pragma once

#include <immintrin.h>

#if defined(__clang__)
#define WAIFU2X_PRAGMA(...) _Pragma(#__VA_ARGS__)
#define WAIFU2X_AVX512_BEGIN                                             \
  WAIFU2X_PRAGMA(clang attribute push(                                   \
      __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), \
      apply_to = function))
#define WAIFU2X_AVX512_END _Pragma("clang attribute pop")
#elif defined(__GNUC__)
#define WAIFU2X_AVX512_BEGIN                                                            \
  _Pragma("GCC push_options") _Pragma("GCC target(\"avx512f,avx512dq,avx512bw,avx512vl,fma\")")
#define WAIFU2X_AVX512_END _Pragma("GCC pop_options")
#else  // MSVC needs no switch for intrinsics
#define WAIFU2X_AVX512_BEGIN
#define WAIFU2X_AVX512_END
#endif
