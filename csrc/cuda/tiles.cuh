// Shared by the tile kernels: the arithmetic of csrc/sample.h on a device, and loads of runs of
// small values in whole words.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../sample.h"
#include "device.h"
#include "tiles.h"

namespace waifu2x::cuda {

constexpr int kThreads = 256;
// Vectors or pixels in flight per thread.
constexpr int kUnroll = 2;
// Bands of rows of windows or rectangles per launch; kernel parameters are limited to 4 KB.
constexpr int kMaxBands = 64;
// Items of a band: int suffices to count the items.
constexpr std::int64_t kMaxItems = std::int64_t{1} << 30;

inline unsigned blocks_for(std::int64_t items) {
  constexpr std::int64_t kEach = kThreads * kUnroll;
  return static_cast<unsigned>((items + kEach - 1) / kEach);
}

// Divides 0 <= n < 2^31 by a divisor known on the host: a multiplication and a shift.
struct Divider {
  unsigned multiplier;
  int shift;

  static Divider by(std::int64_t divisor) {
    int bits = 0;
    while ((std::int64_t{1} << bits) < divisor) ++bits;
    const std::uint64_t scale = std::uint64_t{1} << (31 + bits);
    return {static_cast<unsigned>(scale / static_cast<std::uint64_t>(divisor) + 1), 31 + bits};
  }
  __device__ __forceinline__ int operator()(int n) const {
    return static_cast<int>((static_cast<std::uint64_t>(n) * multiplier) >> shift);
  }
};

// --- samples

__device__ __forceinline__ int clamp_index(int at, int limit) { return max(0, min(at, limit - 1)); }

__device__ __forceinline__ float clamp_unit(float v) {
  v = v > 0.0f ? v : 0.0f;
  return v < 1.0f ? v : 1.0f;
}

// `unit` is already clamped.
template <class T>
__device__ __forceinline__ T quantize_unit(float unit) {
  if constexpr (std::is_same_v<T, float>) {
    return unit;
  } else {
    return static_cast<T>(static_cast<int>(__fadd_rn(__fmul_rn(unit, kFull<T>), 0.5f)));
  }
}

__device__ __forceinline__ float luma(float r, float g, float b) {
  const float red = __fmul_rn(kLumaRed, __fsub_rn(r, g));
  const float blue = __fmul_rn(kLumaBlue, __fsub_rn(b, g));
  return __fadd_rn(g, __fadd_rn(red, blue));
}

// The bits of infinity; as int, the bits of all finite floats >= 0 are less.
constexpr int kInfinity = 0x7f800000;

__device__ __forceinline__ int not_finite(float v) {
  return (__float_as_int(v) & kInfinity) == kInfinity ? 1 : 0;
}

// The unsigned integer of the size of a sample or an element.
template <class T>
using Bits = std::conditional_t<
    sizeof(T) == 1, std::uint8_t,
    std::conditional_t<sizeof(T) == 2, std::uint16_t, std::uint32_t>>;

// Converts the bits of a sample (normalized) or of an element to float.
template <class T>
__device__ __forceinline__ float value_of(unsigned bits) {
  if constexpr (std::is_same_v<T, std::uint8_t> || std::is_same_v<T, std::uint16_t>) {
    // Inserts the integer into the mantissa of 2^23: faster than a conversion. The product with the
    // reciprocal, corrected once, is the correctly rounded quotient for all 256 or 65536 samples.
    constexpr float kReciprocal = 1.0f / kFull<T>;
    const float v = __fsub_rn(__int_as_float(static_cast<int>(0x4b000000u | bits)), 8388608.0f);
    const float quotient = __fmul_rn(v, kReciprocal);
    return __fmaf_rn(__fmaf_rn(-kFull<T>, quotient, v), kReciprocal, quotient);
  } else {
    const auto exact = static_cast<Bits<T>>(bits);
    T v;
    std::memcpy(&v, &exact, sizeof v);
    return to_float(v);
  }
}

template <class T>
__device__ __forceinline__ unsigned load_bits(const T* from) {
  return __ldg(reinterpret_cast<const Bits<T>*>(from));
}

// --- runs of values

// kCount consecutive values, packed in words.
template <class T, int kCount>
struct PackedRun {
  static constexpr int kWords = kCount * static_cast<int>(sizeof(T)) / 4;
  static constexpr int kPerWord = 4 / static_cast<int>(sizeof(T));
  static constexpr unsigned kAll = (1u << kCount) - 1;
  static_assert(kWords * kPerWord == kCount);

  unsigned words[kWords + 1];
  unsigned shift;

  // Whether the aligned words that contain kCount values at `from` lie in [begin, end). Memory
  // outside may not be mapped.
  static __device__ __forceinline__ bool within(const T* from, const T* begin, const T* end) {
    const auto first = reinterpret_cast<std::uintptr_t>(from) & ~std::uintptr_t{3};
    const auto last =
        (reinterpret_cast<std::uintptr_t>(from + kCount) + 3) & ~std::uintptr_t{3};
    return first >= reinterpret_cast<std::uintptr_t>(begin) &&
           last <= reinterpret_cast<std::uintptr_t>(end);
  }

  // Loads aligned words without waiting; align() then shifts the values into place.
  __device__ __forceinline__ void load(const T* from) {
    const auto address = reinterpret_cast<std::uintptr_t>(from);
    const auto* aligned = reinterpret_cast<const unsigned*>(address & ~std::uintptr_t{3});
    shift = static_cast<unsigned>(address & 3) * 8;
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = __ldg(aligned + i);
    words[kWords] = shift != 0 ? __ldg(aligned + kWords) : 0;
  }

  __device__ __forceinline__ void clear() {
    shift = 0;
#pragma unroll
    for (int i = 0; i <= kWords; ++i) words[i] = 0;
  }
  // Only after clear().
  __device__ __forceinline__ void set(int i, unsigned bits) {
    words[i / kPerWord] |= bits << (i % kPerWord * static_cast<int>(sizeof(T)) * 8);
  }

  __device__ __forceinline__ void align() {
    if constexpr (sizeof(T) < 4) {
#pragma unroll
      for (int i = 0; i < kWords; ++i) words[i] = __funnelshift_r(words[i], words[i + 1], shift);
    }
  }
  // Only after align().
  __device__ __forceinline__ float value(int i) const {
    unsigned bits = words[i / kPerWord];
    if constexpr (sizeof(T) < 4) {
      constexpr int kSize = static_cast<int>(sizeof(T)) * 8;
      bits = bits >> (i % kPerWord * kSize) & ((1u << kSize) - 1);
    }
    return value_of<T>(bits);
  }
};

template <int kBytes>
using Packed = std::conditional_t<kBytes == 4, unsigned,
                                  std::conditional_t<kBytes == 8, uint2, uint4>>;

// Stores kCount values in a single access to an aligned address. Uses an intrinsic: the compiler
// splits a plain store if another branch stores single values.
template <class T, int kCount>
__device__ __forceinline__ void store(T* to, const T (&values)[kCount]) {
  Packed<kCount * static_cast<int>(sizeof(T))> packed;
  static_assert(sizeof packed == sizeof values);
  std::memcpy(&packed, values, sizeof packed);
  __stwb(reinterpret_cast<decltype(packed)*>(to), packed);
}

// --- statistics; called by all threads of a block

template <class Fold>
__device__ __forceinline__ int reduce_warp(int value, Fold fold) {
#pragma unroll
  for (int mask = warpSize / 2; mask > 0; mask /= 2) {
    value = fold(value, __shfl_xor_sync(0xffffffffu, value, mask));
  }
  return value;
}

__device__ __forceinline__ void update_maximum(int* at, int bits) {
  __shared__ int maximum;
  if (threadIdx.x == 0) maximum = 0;
  __syncthreads();
  bits = reduce_warp(bits, [](int a, int b) { return max(a, b); });
  if (threadIdx.x % warpSize == 0 && bits > 0) atomicMax(&maximum, bits);
  __syncthreads();
  if (threadIdx.x == 0 && maximum > 0) atomicMax(at, maximum);
}

// One atomic operation per warp: samples that are not finite are rare.
__device__ __forceinline__ void add_count(int* at, int count) {
  count = reduce_warp(count, [](int a, int b) { return a + b; });
  if (threadIdx.x % warpSize == 0 && count > 0) atomicAdd(at, count);
}

}  // namespace waifu2x::cuda
