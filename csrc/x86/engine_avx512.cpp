#include "kernels.h"

#if WAIFU2X_X86

#include "engine/target.h"
#include "x86/avx512.h"

WAIFU2X_AVX512_BEGIN

namespace waifu2x::engine {
namespace {

struct V {
  using Register = __m512;
  static constexpr int kLanes = 16;
  static WAIFU2X_INLINE Register load(const float* p) { return _mm512_loadu_ps(p); }
  static WAIFU2X_INLINE void store(float* p, Register x) { _mm512_storeu_ps(p, x); }
  static WAIFU2X_INLINE Register broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static WAIFU2X_INLINE Register broadcast1(float x) { return _mm512_set1_ps(x); }
  static WAIFU2X_INLINE Register zero() { return _mm512_setzero_ps(); }
  static WAIFU2X_INLINE Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
  static WAIFU2X_INLINE Register sub(Register a, Register b) { return _mm512_sub_ps(a, b); }
  static WAIFU2X_INLINE Register mul(Register a, Register b) { return _mm512_mul_ps(a, b); }
  static WAIFU2X_INLINE Register fma(Register a, Register b, Register c) {
    return _mm512_fmadd_ps(a, b, c);
  }
  static WAIFU2X_INLINE Register fnma(Register a, Register b, Register c) {
    return _mm512_fnmadd_ps(a, b, c);
  }
  static WAIFU2X_INLINE Register prelu(Register x, Register slope) {
    const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mul_ps(x, negative, x, slope);
  }
  static WAIFU2X_INLINE Register div(Register a, Register b) { return _mm512_div_ps(a, b); }
  // The masked intrinsics: GCC warns of an uninitialized operand inside the plain ones.
  static WAIFU2X_INLINE Register max(Register a, Register b) {
    return _mm512_maskz_max_ps(0xFFFF, a, b);
  }
  static WAIFU2X_INLINE Register min(Register a, Register b) {
    return _mm512_maskz_min_ps(0xFFFF, a, b);
  }
  static WAIFU2X_INLINE Register choose(Register a, Register b, Register x, Register y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
  }
  static WAIFU2X_INLINE Register exponent(Register x) {
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xFFFF, _mm512_castps_si512(x), 23));
  }
  static WAIFU2X_INLINE void prefetch_near(const float* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static WAIFU2X_INLINE void prefetch(const float* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }
};

// 28 sums, two weights and an input use 31 of 32 registers. A single output block is rare.
constexpr int kMaxPixels1 = 14;
constexpr int kMaxPixels2 = 14;
constexpr bool kPrefetchBlocks = false;
constexpr int kProductTiles = 1;

#include "engine/kernels.inl"

}  // namespace
}  // namespace waifu2x::engine

WAIFU2X_AVX512_END

namespace waifu2x {
void install_engine_avx512(Kernels& kernels) { kernels.engine = engine::kKernels; }
}  // namespace waifu2x

#endif
