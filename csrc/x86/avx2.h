// Shared by the *_avx2.cpp files: eight pixels in three registers of eight floats.
//
// Only code between WAIFU2X_AVX2_BEGIN and WAIFU2X_AVX2_END is compiled for AVX2. Per-file compiler
// flags would also apply to the inline functions of every included header, and the linker may keep
// those copies for the whole module: an illegal instruction on an older CPU. Include all headers
// before WAIFU2X_AVX2_BEGIN.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "sample.h"

#if defined(__clang__)
#define WAIFU2X_AVX2_BEGIN                                                                \
  _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,f16c\"))), apply_to = function)")
#define WAIFU2X_AVX2_END _Pragma("clang attribute pop")
#elif defined(__GNUC__)
#define WAIFU2X_AVX2_BEGIN _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,f16c\")")
#define WAIFU2X_AVX2_END _Pragma("GCC pop_options")
#else  // MSVC needs no switch for intrinsics
#define WAIFU2X_AVX2_BEGIN
#define WAIFU2X_AVX2_END
#endif

WAIFU2X_AVX2_BEGIN

namespace waifu2x {
namespace {  // internal linkage: each file keeps its own copies

struct Pixels {
  __m256 r, g, b;
};

// Loads the two 128-bit lanes from separate addresses.
inline __m256i load_lanes(const void* low, const void* high) {
  return _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(low))),
      _mm_loadu_si128(static_cast<const __m128i*>(high)), 1);
}

inline __m256 luma8(const Pixels& p) {
  const __m256 red = _mm256_mul_ps(_mm256_set1_ps(kLumaRed), _mm256_sub_ps(p.r, p.g));
  const __m256 blue = _mm256_mul_ps(_mm256_set1_ps(kLumaBlue), _mm256_sub_ps(p.b, p.g));
  return _mm256_add_ps(p.g, _mm256_add_ps(red, blue));
}

// Four pixels fill three 128-bit lanes: r0 g0 b0 r1 | g1 b1 r2 g2 | b2 r3 g3 b3. The low lanes of
// x, y and z hold pixels 0-3, the high lanes pixels 4-7.
struct Lanes {
  __m256 x, y, z;
};

inline Pixels deinterleave(const Lanes& s) {
  // Two blends collect a channel, a permutation restores the order.
  const __m256 r = _mm256_blend_ps(_mm256_blend_ps(s.x, s.z, 0x22), s.y, 0x44);  // r0 r3 r2 r1
  const __m256 g = _mm256_blend_ps(_mm256_blend_ps(s.y, s.x, 0x22), s.z, 0x44);  // g1 g0 g3 g2
  const __m256 b = _mm256_blend_ps(_mm256_blend_ps(s.z, s.y, 0x22), s.x, 0x44);  // b2 b1 b0 b3
  return {_mm256_permute_ps(r, _MM_SHUFFLE(1, 2, 3, 0)),
          _mm256_permute_ps(g, _MM_SHUFFLE(2, 3, 0, 1)),
          _mm256_permute_ps(b, _MM_SHUFFLE(3, 0, 1, 2))};
}

// The inverse of deinterleave; each permutation is its own inverse.
inline Lanes interleave(const Pixels& p) {
  const __m256 r = _mm256_permute_ps(p.r, _MM_SHUFFLE(1, 2, 3, 0));
  const __m256 g = _mm256_permute_ps(p.g, _MM_SHUFFLE(2, 3, 0, 1));
  const __m256 b = _mm256_permute_ps(p.b, _MM_SHUFFLE(3, 0, 1, 2));
  return {_mm256_blend_ps(_mm256_blend_ps(r, g, 0x22), b, 0x44),
          _mm256_blend_ps(_mm256_blend_ps(g, b, 0x22), r, 0x44),
          _mm256_blend_ps(_mm256_blend_ps(b, r, 0x22), g, 0x44)};
}

// The 24 floats of eight interleaved pixels, in memory order.
inline Lanes memory_order(const Lanes& s) {
  return {_mm256_permute2f128_ps(s.x, s.y, 0x20), _mm256_blend_ps(s.z, s.x, 0xF0),
          _mm256_permute2f128_ps(s.y, s.z, 0x31)};
}

}  // namespace
}  // namespace waifu2x

WAIFU2X_AVX2_END
