#include "kernels.h"

#if WAIFU2X_X86

#include "x86/avx2.h"
#include "sample.h"

WAIFU2X_AVX2_BEGIN

namespace waifu2x {
namespace {

constexpr std::size_t kStep = 8;

// Counts the samples of each lane that are not finite: |v| < inf is false for inf and NaN.
inline __m256i count_not_finite(__m256i counts, __m256 v) {
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
  const __m256 infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
  const __m256 bad = _mm256_cmp_ps(magnitude, infinity, _CMP_NLT_UQ);
  return _mm256_sub_epi32(counts, _mm256_castps_si256(bad));
}

inline __m256i count_not_finite(__m256i counts, const Pixels& p) {
  return count_not_finite(count_not_finite(count_not_finite(counts, p.r), p.g), p.b);
}

inline std::size_t total(__m256i counts) {
  alignas(32) std::uint32_t lanes[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), counts);
  std::size_t sum = 0;
  for (const std::uint32_t lane : lanes) sum += lane;
  return sum;
}

// maxps returns its second operand for NaN, and for -0 against +0.
inline __m256 clamp8(__m256 v) {
  return _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(1.0f));
}

template <class T>
inline __m256i quantize8(__m256 v) {
  const __m256 scaled = _mm256_mul_ps(clamp8(v), _mm256_set1_ps(kFull<T>));
  return _mm256_cvttps_epi32(_mm256_add_ps(scaled, _mm256_set1_ps(0.5f)));
}

inline __m128i low(__m256i v) { return _mm256_castsi256_si128(v); }
inline __m128i high(__m256i v) { return _mm256_extracti128_si256(v, 1); }
inline void store_16(void* dst, __m128i v) { _mm_storeu_si128(static_cast<__m128i*>(dst), v); }
inline void store_8(void* dst, __m128i v) { _mm_storel_epi64(static_cast<__m128i*>(dst), v); }

// Eight samples.
inline void store(std::uint8_t* dst, __m256 v) {
  const __m256i q = quantize8<std::uint8_t>(v);
  const __m128i words = _mm_packus_epi32(low(q), high(q));
  store_8(dst, _mm_packus_epi16(words, words));
}

inline void store(std::uint16_t* dst, __m256 v) {
  const __m256i q = quantize8<std::uint16_t>(v);
  store_16(dst, _mm_packus_epi32(low(q), high(q)));
}

inline void store(float* dst, __m256 v) { _mm256_storeu_ps(dst, clamp8(v)); }

// Eight interleaved pixels.
inline void store(std::uint8_t* dst, const Pixels& p) {
  // Packs a pixel into each 32-bit element, drops every fourth byte and joins the lanes.
  const __m256i g = _mm256_slli_epi32(quantize8<std::uint8_t>(p.g), 8);
  const __m256i b = _mm256_slli_epi32(quantize8<std::uint8_t>(p.b), 16);
  const __m256i rgb = _mm256_or_si256(quantize8<std::uint8_t>(p.r), _mm256_or_si256(g, b));
  const __m256i dense = _mm256_shuffle_epi8(
      rgb, _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
                            0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
  const __m256i joined =
      _mm256_permutevar8x32_epi32(dense, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
  store_16(dst, low(joined));
  store_8(dst + 16, high(joined));
}

inline void store(std::uint16_t* dst, const Pixels& p) {
  const Lanes s = interleave({_mm256_castsi256_ps(quantize8<std::uint16_t>(p.r)),
                              _mm256_castsi256_ps(quantize8<std::uint16_t>(p.g)),
                              _mm256_castsi256_ps(quantize8<std::uint16_t>(p.b))});
  const __m256i head = _mm256_packus_epi32(_mm256_castps_si256(s.x), _mm256_castps_si256(s.y));
  const __m256i tail = _mm256_packus_epi32(_mm256_castps_si256(s.z), _mm256_castps_si256(s.z));
  store_16(dst, low(head));
  store_8(dst + 8, low(tail));
  store_16(dst + 12, high(head));
  store_8(dst + 20, high(tail));
}

inline void store(float* dst, const Pixels& p) {
  const Lanes s = memory_order(interleave({clamp8(p.r), clamp8(p.g), clamp8(p.b)}));
  _mm256_storeu_ps(dst, s.x);
  _mm256_storeu_ps(dst + 8, s.y);
  _mm256_storeu_ps(dst + 16, s.z);
}

template <class T>
std::size_t blend_rgb_avx2(const float* r, const float* g, const float* b, T* dst, std::size_t n) {
  __m256i counts = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const Pixels p = {_mm256_loadu_ps(r + i), _mm256_loadu_ps(g + i), _mm256_loadu_ps(b + i)};
    counts = count_not_finite(counts, p);
    store(dst + 3 * i, p);
  }
  std::size_t bad = total(counts);
  for (; i < n; ++i) bad += blend_rgb_pixel(r[i], g[i], b[i], dst + 3 * i);
  return bad;
}

template <class T>
std::size_t blend_gray_avx2(const float* r, const float* g, const float* b, T* dst,
                            std::size_t n) {
  __m256i counts = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const Pixels p = {_mm256_loadu_ps(r + i), _mm256_loadu_ps(g + i), _mm256_loadu_ps(b + i)};
    counts = count_not_finite(counts, p);
    store(dst + i, luma8(p));
  }
  std::size_t bad = total(counts);
  for (; i < n; ++i) bad += blend_gray_pixel(r[i], g[i], b[i], dst + i);
  return bad;
}

template <class T>
std::size_t quantize_avx2(const float* src, T* dst, std::size_t n) {
  __m256i counts = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m256 v = _mm256_loadu_ps(src + i);
    counts = count_not_finite(counts, v);
    store(dst + i, v);
  }
  std::size_t bad = total(counts);
  for (; i < n; ++i) bad += quantize_counted(src[i], dst + i);
  return bad;
}

template <class T>
void install(SampleKernels<T>& samples) {
  samples.blend_rgb = blend_rgb_avx2<T>;
  samples.blend_gray = blend_gray_avx2<T>;
  samples.quantize = quantize_avx2<T>;
}

}  // namespace

void install_blend_avx2(Kernels& kernels) {
  install(kernels.u8);
  install(kernels.u16);
  install(kernels.f32);
}

}  // namespace waifu2x

WAIFU2X_AVX2_END

#endif
