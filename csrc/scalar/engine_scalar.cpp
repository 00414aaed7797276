// Portable engine kernels: the reference for the other instruction sets, and the fallback.
#include "engine/target.h"
#include "kernels.h"

namespace waifu2x::engine {
namespace {

#if defined(__GNUC__)
// GCC vector extensions within the baseline instruction set. Single floats at -O3 are five times
// slower.
struct V {
  typedef float Register __attribute__((vector_size(16)));
  static constexpr int kLanes = 4;
  static WAIFU2X_INLINE Register load(const float* p) {
    Register x;
    __builtin_memcpy(&x, p, sizeof x);
    return x;
  }
  static WAIFU2X_INLINE void store(float* p, Register x) { __builtin_memcpy(p, &x, sizeof x); }
  static WAIFU2X_INLINE Register broadcast(const float* p) { return broadcast1(*p); }
  static WAIFU2X_INLINE Register broadcast1(float x) { return Register{x, x, x, x}; }
  static WAIFU2X_INLINE Register zero() { return Register{}; }
  static WAIFU2X_INLINE Register prelu(Register x, Register slope) {
    const Register scaled = x * slope;
    return Register{x[0] < 0 ? scaled[0] : x[0], x[1] < 0 ? scaled[1] : x[1],
                    x[2] < 0 ? scaled[2] : x[2], x[3] < 0 ? scaled[3] : x[3]};
  }
#else
struct V {
  using Register = float;
  static constexpr int kLanes = 1;
  static WAIFU2X_INLINE Register load(const float* p) { return *p; }
  static WAIFU2X_INLINE void store(float* p, Register x) { *p = x; }
  static WAIFU2X_INLINE Register broadcast(const float* p) { return *p; }
  static WAIFU2X_INLINE Register broadcast1(float x) { return x; }
  static WAIFU2X_INLINE Register zero() { return 0.0f; }
  static WAIFU2X_INLINE Register prelu(Register x, Register slope) {
    return x < 0.0f ? x * slope : x;
  }
#endif
  static WAIFU2X_INLINE Register add(Register a, Register b) { return a + b; }
  static WAIFU2X_INLINE Register sub(Register a, Register b) { return a - b; }
  static WAIFU2X_INLINE Register mul(Register a, Register b) { return a * b; }
  static WAIFU2X_INLINE Register fma(Register a, Register b, Register c) { return a * b + c; }
  static WAIFU2X_INLINE Register fnma(Register a, Register b, Register c) { return c - a * b; }
  static WAIFU2X_INLINE void prefetch(const float*) {}
  static WAIFU2X_INLINE void prefetch_near(const float*) {}
};

constexpr int kMaxPixels1 = 2;
constexpr int kMaxPixels2 = 0;

#include "engine/kernels.inl"

}  // namespace
}  // namespace waifu2x::engine

namespace waifu2x {
void install_engine_scalar(Kernels& kernels) { kernels.engine = engine::kKernels; }
}  // namespace waifu2x
