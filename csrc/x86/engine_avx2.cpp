#include "kernels.h"

#if WAIFU2X_X86

#include "engine/target.h"
#include "x86/avx2.h"

WAIFU2X_AVX2_BEGIN

namespace waifu2x::engine {
namespace {

struct V {
  using Register = __m256;
  static constexpr int kLanes = 8;
  static WAIFU2X_INLINE Register load(const float* p) { return _mm256_loadu_ps(p); }
  static WAIFU2X_INLINE void store(float* p, Register x) { _mm256_storeu_ps(p, x); }
  static WAIFU2X_INLINE Register broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static WAIFU2X_INLINE Register broadcast1(float x) { return _mm256_set1_ps(x); }
  static WAIFU2X_INLINE Register zero() { return _mm256_setzero_ps(); }
  static WAIFU2X_INLINE Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
  static WAIFU2X_INLINE Register sub(Register a, Register b) { return _mm256_sub_ps(a, b); }
  static WAIFU2X_INLINE Register mul(Register a, Register b) { return _mm256_mul_ps(a, b); }
  static WAIFU2X_INLINE Register fma(Register a, Register b, Register c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  static WAIFU2X_INLINE Register fnma(Register a, Register b, Register c) {
    return _mm256_fnmadd_ps(a, b, c);
  }
  static WAIFU2X_INLINE Register prelu(Register x, Register slope) {
    return _mm256_blendv_ps(x, _mm256_mul_ps(x, slope), x);  // selects by the sign bit; fine for -0
  }
  static WAIFU2X_INLINE Register div(Register a, Register b) { return _mm256_div_ps(a, b); }
  static WAIFU2X_INLINE Register max(Register a, Register b) { return _mm256_max_ps(a, b); }
  static WAIFU2X_INLINE Register min(Register a, Register b) { return _mm256_min_ps(a, b); }
  static WAIFU2X_INLINE Register choose(Register a, Register b, Register x, Register y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static WAIFU2X_INLINE Register exponent(Register x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23));
  }
  static WAIFU2X_INLINE void prefetch_near(const float* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static WAIFU2X_INLINE void prefetch(const float* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }
};

// Six pixels read the transformed inputs once per 16 outputs, from the L2 cache: the hardware
// prefetcher is late for so many streams.
constexpr bool kPrefetchBlocks = true;

// 12 sums, two weights and an input use 15 of 16 registers.
constexpr int kMaxPixels1 = 6;
constexpr int kMaxPixels2 = 0;
constexpr int kProductTiles = kMaxPixels1;

#include "engine/kernels.inl"

}  // namespace
}  // namespace waifu2x::engine

WAIFU2X_AVX2_END

namespace waifu2x {
void install_engine_avx2(Kernels& kernels) { kernels.engine = engine::kKernels; }
}  // namespace waifu2x

#endif
