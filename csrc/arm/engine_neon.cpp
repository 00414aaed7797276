#include "kernels.h"

#if WAIFU2X_ARM

#include <arm_neon.h>

#include "engine/target.h"

#if defined(_MSC_VER)
#define WAIFU2X_PREFETCH(p, level) static_cast<void>(p)
#else
#define WAIFU2X_PREFETCH(p, level) __builtin_prefetch(p, 0, level)
#endif

namespace waifu2x::engine {
namespace {

struct V {
  using Register = float32x4_t;
  static constexpr int kLanes = 4;
  static WAIFU2X_INLINE Register load(const float* p) { return vld1q_f32(p); }
  static WAIFU2X_INLINE void store(float* p, Register x) { vst1q_f32(p, x); }
  static WAIFU2X_INLINE Register broadcast(const float* p) { return vld1q_dup_f32(p); }
  static WAIFU2X_INLINE Register broadcast1(float x) { return vdupq_n_f32(x); }
  static WAIFU2X_INLINE Register zero() { return vdupq_n_f32(0.0f); }
  static WAIFU2X_INLINE Register add(Register a, Register b) { return vaddq_f32(a, b); }
  static WAIFU2X_INLINE Register sub(Register a, Register b) { return vsubq_f32(a, b); }
  static WAIFU2X_INLINE Register mul(Register a, Register b) { return vmulq_f32(a, b); }
  static WAIFU2X_INLINE Register fma(Register a, Register b, Register c) {
    return vfmaq_f32(c, a, b);
  }
  static WAIFU2X_INLINE Register fnma(Register a, Register b, Register c) {
    return vfmsq_f32(c, a, b);
  }
  static WAIFU2X_INLINE Register prelu(Register x, Register slope) {
    return vbslq_f32(vcltzq_f32(x), vmulq_f32(x, slope), x);
  }
  static WAIFU2X_INLINE Register div(Register a, Register b) { return vdivq_f32(a, b); }
  static WAIFU2X_INLINE Register max(Register a, Register b) { return vmaxq_f32(a, b); }
  static WAIFU2X_INLINE Register min(Register a, Register b) { return vminq_f32(a, b); }
  static WAIFU2X_INLINE Register choose(Register a, Register b, Register x, Register y) {
    return vbslq_f32(vcltq_f32(a, b), x, y);
  }
  static WAIFU2X_INLINE Register exponent(Register x) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(x), 23));
  }
  static WAIFU2X_INLINE void prefetch(const float* p) { WAIFU2X_PREFETCH(p, 2); }
  static WAIFU2X_INLINE void prefetch_near(const float* p) { WAIFU2X_PREFETCH(p, 3); }
};

// 24 sums, four weights and an input use 29 of 32 registers.
constexpr int kMaxPixels1 = 6;
constexpr int kMaxPixels2 = 0;
constexpr bool kPrefetchBlocks = false;
constexpr int kProductTiles = 1;

#include "engine/kernels.inl"

}  // namespace
}  // namespace waifu2x::engine

namespace waifu2x {
void install_engine_neon(Kernels& kernels) { kernels.engine = engine::kKernels; }
}  // namespace waifu2x

#endif
