// Portable engine kernels: the reference for the other instruction sets, and the fallback.
#include <cstdint>
#include <cstring>

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
  static WAIFU2X_INLINE Register choose(Register a, Register b, Register x, Register y) {
    return Register{a[0] < b[0] ? x[0] : y[0], a[1] < b[1] ? x[1] : y[1],
                    a[2] < b[2] ? x[2] : y[2], a[3] < b[3] ? x[3] : y[3]};
  }
  static WAIFU2X_INLINE Register exponent(Register x) {
    typedef int Bits __attribute__((vector_size(16)));
    Bits bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    bits <<= 23;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
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
  static WAIFU2X_INLINE Register choose(Register a, Register b, Register x, Register y) {
    return a < b ? x : y;
  }
  static WAIFU2X_INLINE Register exponent(Register x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits <<= 23;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }
#endif
  static WAIFU2X_INLINE Register div(Register a, Register b) { return a / b; }
  static WAIFU2X_INLINE Register max(Register a, Register b) { return choose(b, a, a, b); }
  static WAIFU2X_INLINE Register min(Register a, Register b) { return choose(a, b, a, b); }
  static WAIFU2X_INLINE Register add(Register a, Register b) { return a + b; }
  static WAIFU2X_INLINE Register sub(Register a, Register b) { return a - b; }
  static WAIFU2X_INLINE Register mul(Register a, Register b) { return a * b; }
  static WAIFU2X_INLINE Register fma(Register a, Register b, Register c) { return a * b + c; }
  static WAIFU2X_INLINE Register fnma(Register a, Register b, Register c) { return c - a * b; }
  static WAIFU2X_INLINE void prefetch(const float*) {}
  static WAIFU2X_INLINE void prefetch_near(const float*) {}
};

constexpr bool kPrefetchBlocks = false;
constexpr int kProductTiles = 1;
constexpr int kMaxPixels1 = 2;
constexpr int kMaxPixels2 = 0;

#include "engine/kernels.inl"

}  // namespace
}  // namespace waifu2x::engine

namespace waifu2x {
void install_engine_scalar(Kernels& kernels) { kernels.engine = engine::kKernels; }
}  // namespace waifu2x
