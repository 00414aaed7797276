#include "kernels.h"

#if WAIFU2X_X86

#include "x86/avx2.h"
#include "sample.h"

WAIFU2X_AVX2_BEGIN

namespace waifu2x {
namespace {

constexpr std::size_t kStep = 8;

// Rounds the product and the sum: a fused multiply-add would differ from the scalar kernel.
inline void accumulate(float* canvas, __m256 product) {
  _mm256_storeu_ps(canvas, _mm256_add_ps(_mm256_loadu_ps(canvas), product));
}

void feather_rgb_avx2(const float* r, const float* g, const float* b, const float* wx, float wy,
                      float* canvas, std::size_t n) {
  const __m256 row_weight = _mm256_set1_ps(wy);
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m256 weight = _mm256_mul_ps(row_weight, _mm256_loadu_ps(wx + i));
    const Lanes s = memory_order(interleave({_mm256_mul_ps(_mm256_loadu_ps(r + i), weight),
                                             _mm256_mul_ps(_mm256_loadu_ps(g + i), weight),
                                             _mm256_mul_ps(_mm256_loadu_ps(b + i), weight)}));
    accumulate(canvas + 3 * i, s.x);
    accumulate(canvas + 3 * i + 8, s.y);
    accumulate(canvas + 3 * i + 16, s.z);
  }
  for (; i < n; ++i) feather_rgb_pixel(r[i], g[i], b[i], wy * wx[i], canvas + 3 * i);
}

void feather_gray_avx2(const float* r, const float* g, const float* b, const float* wx, float wy,
                       float* canvas, std::size_t n) {
  const __m256 row_weight = _mm256_set1_ps(wy);
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m256 weight = _mm256_mul_ps(row_weight, _mm256_loadu_ps(wx + i));
    const Pixels p = {_mm256_loadu_ps(r + i), _mm256_loadu_ps(g + i), _mm256_loadu_ps(b + i)};
    accumulate(canvas + i, _mm256_mul_ps(luma8(p), weight));
  }
  for (; i < n; ++i) feather_gray_pixel(r[i], g[i], b[i], wy * wx[i], canvas + i);
}

}  // namespace

void install_feather_avx2(Kernels& kernels) {
  kernels.feather_rgb = feather_rgb_avx2;
  kernels.feather_gray = feather_gray_avx2;
}

}  // namespace waifu2x

WAIFU2X_AVX2_END

#endif
