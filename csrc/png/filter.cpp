#include "png/filter.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "dispatch.h"

#if WAIFU2X_X86
#include <immintrin.h>
#elif WAIFU2X_ARM
#include <arm_neon.h>
#endif

namespace waifu2x {
namespace {

#if WAIFU2X_X86

// igzip leaves the upper parts of the vector registers in use, and threads inherit that when they
// start. Every SSE instruction must then carry them along: the filters took 3.5 times as long.
#if defined(__GNUC__)
__attribute__((target("avx")))
#endif
void drop_upper_parts() {
  _mm256_zeroupper();
}

void start() {
  static const bool has_avx = levels().size() > 1;
  if (has_avx) drop_upper_parts();
}

#else

void start() {}

#endif

// Bytes side by side and what the filters do with them. One byte defines what is correct and does
// the ends of rows; the vectors are part of every x86-64 and AArch64 processor, so nothing is
// chosen at run time. All of it is exact in integers: every kind gives the same bytes.
//
//   mean(a, b)           floor((a + b) / 2)
//   sum(a, b)            a + b, at most 255
//   size()               |v| of a signed byte, 128 for -128
//   at_most, same        masks: all ones or all zeros
struct OneByte {
  [[maybe_unused]] static constexpr std::size_t kLanes = 1;
  std::uint8_t v;

  static OneByte load(const std::uint8_t* p) { return {*p}; }
  void store(std::uint8_t* p) const { *p = v; }
  static OneByte of(int v) { return {static_cast<std::uint8_t>(v)}; }

  friend OneByte operator-(OneByte a, OneByte b) { return of(a.v - b.v); }
  friend OneByte distance(OneByte a, OneByte b) { return of(a.v < b.v ? b.v - a.v : a.v - b.v); }
  friend OneByte mean(OneByte a, OneByte b) { return of((a.v + b.v) >> 1); }
  friend OneByte sum(OneByte a, OneByte b) { return of(std::min(a.v + b.v, 255)); }
  friend OneByte at_most(OneByte a, OneByte b) { return of(a.v <= b.v ? 255 : 0); }
  friend OneByte same(OneByte a, OneByte b) { return of(a.v == b.v ? 255 : 0); }
  friend OneByte both(OneByte a, OneByte b) { return of(a.v & b.v); }
  friend OneByte choose(OneByte mask, OneByte a, OneByte b) { return mask.v != 0 ? a : b; }
  OneByte size() const { return of(v < 128 ? v : 256 - v); }

  struct Sum {
    std::uint64_t value = 0;
    void add(OneByte a) { value += a.v; }
    std::uint64_t total() const { return value; }
  };
};

#if WAIFU2X_X86

struct ManyBytes {
  static constexpr std::size_t kLanes = 16;
  __m128i v;

  static ManyBytes load(const std::uint8_t* p) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
  }
  void store(std::uint8_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }

  friend ManyBytes operator-(ManyBytes a, ManyBytes b) { return {_mm_sub_epi8(a.v, b.v)}; }
  friend ManyBytes distance(ManyBytes a, ManyBytes b) {
    return {_mm_or_si128(_mm_subs_epu8(a.v, b.v), _mm_subs_epu8(b.v, a.v))};
  }
  friend ManyBytes mean(ManyBytes a, ManyBytes b) {  // pavgb rounds up
    const __m128i odd = _mm_and_si128(_mm_xor_si128(a.v, b.v), _mm_set1_epi8(1));
    return {_mm_sub_epi8(_mm_avg_epu8(a.v, b.v), odd)};
  }
  friend ManyBytes sum(ManyBytes a, ManyBytes b) { return {_mm_adds_epu8(a.v, b.v)}; }
  friend ManyBytes at_most(ManyBytes a, ManyBytes b) {
    return {_mm_cmpeq_epi8(_mm_min_epu8(a.v, b.v), a.v)};
  }
  friend ManyBytes same(ManyBytes a, ManyBytes b) { return {_mm_cmpeq_epi8(a.v, b.v)}; }
  friend ManyBytes both(ManyBytes a, ManyBytes b) { return {_mm_and_si128(a.v, b.v)}; }
  friend ManyBytes choose(ManyBytes mask, ManyBytes a, ManyBytes b) {
    return {_mm_or_si128(_mm_and_si128(mask.v, a.v), _mm_andnot_si128(mask.v, b.v))};
  }
  ManyBytes size() const { return {_mm_min_epu8(v, _mm_sub_epi8(_mm_setzero_si128(), v))}; }

  struct Sum {
    __m128i totals = _mm_setzero_si128();
    void add(ManyBytes a) {
      totals = _mm_add_epi64(totals, _mm_sad_epu8(a.v, _mm_setzero_si128()));
    }
    std::uint64_t total() const {
      std::uint64_t halves[2];
      std::memcpy(halves, &totals, sizeof halves);
      return halves[0] + halves[1];
    }
  };
};

#elif WAIFU2X_ARM

struct ManyBytes {
  static constexpr std::size_t kLanes = 16;
  uint8x16_t v;

  static ManyBytes load(const std::uint8_t* p) { return {vld1q_u8(p)}; }
  void store(std::uint8_t* p) const { vst1q_u8(p, v); }

  friend ManyBytes operator-(ManyBytes a, ManyBytes b) { return {vsubq_u8(a.v, b.v)}; }
  friend ManyBytes distance(ManyBytes a, ManyBytes b) { return {vabdq_u8(a.v, b.v)}; }
  friend ManyBytes mean(ManyBytes a, ManyBytes b) { return {vhaddq_u8(a.v, b.v)}; }
  friend ManyBytes sum(ManyBytes a, ManyBytes b) { return {vqaddq_u8(a.v, b.v)}; }
  friend ManyBytes at_most(ManyBytes a, ManyBytes b) { return {vcleq_u8(a.v, b.v)}; }
  friend ManyBytes same(ManyBytes a, ManyBytes b) { return {vceqq_u8(a.v, b.v)}; }
  friend ManyBytes both(ManyBytes a, ManyBytes b) { return {vandq_u8(a.v, b.v)}; }
  friend ManyBytes choose(ManyBytes mask, ManyBytes a, ManyBytes b) {
    return {vbslq_u8(mask.v, a.v, b.v)};
  }
  ManyBytes size() const { return {vreinterpretq_u8_s8(vabsq_s8(vreinterpretq_s8_u8(v)))}; }

  struct Sum {
    uint64x2_t totals = vdupq_n_u64(0);
    void add(ManyBytes a) {
      totals = vpadalq_u32(totals, vpaddlq_u16(vpaddlq_u8(a.v)));
    }
    std::uint64_t total() const { return vaddvq_u64(totals); }
  };
};

#else

using ManyBytes = OneByte;

#endif

enum Filter { kNone, kSub, kUp, kAverage, kPaeth, kFilters };

// Whichever of left, up and corner is nearest to left + up - corner. The distances to left and up
// are |up - corner| and |left - corner|; to the corner it is |(up - corner) + (left - corner)|: the
// sum of the two where both go the same way, which byte arithmetic may cut off at 255 because it is
// only compared with either, and their difference where they do not.
template <class V>
V paeth(V left, V up, V corner) {
  const V to_left = distance(up, corner), to_up = distance(left, corner);
  const V to_corner = choose(same(at_most(corner, up), at_most(corner, left)),
                             sum(to_left, to_up), distance(to_left, to_up));
  const V take_left = both(at_most(to_left, to_up), at_most(to_left, to_corner));
  return choose(take_left, left, choose(at_most(to_up, to_corner), up, corner));
}

// Two rows as they are stored, with a pixel of zeros before each.
struct Row {
  const std::uint8_t* bytes;
  const std::uint8_t* above;
  std::size_t size;
  std::size_t pixel;  // bytes
};

template <class V, int kFilter>
V filtered(const Row& row, std::size_t i) {
  const V x = V::load(row.bytes + i);
  const auto left = [&] { return V::load(row.bytes + i - row.pixel); };
  const auto up = [&] { return V::load(row.above + i); };
  if constexpr (kFilter == kNone) return x;
  if constexpr (kFilter == kSub) return x - left();
  if constexpr (kFilter == kUp) return x - up();
  if constexpr (kFilter == kAverage) return x - mean(left(), up());
  if constexpr (kFilter == kPaeth) {
    return x - paeth(left(), up(), V::load(row.above + i - row.pixel));
  }
}

// How much of a row the vectors do.
std::size_t vectored(const Row& row) { return row.size - row.size % ManyBytes::kLanes; }

// The first filter with the least sum of sizes.
int best_filter(const Row& row) {
  std::size_t i = 0;
  const auto add = [&](auto lane, auto& sums) {
    using V = decltype(lane);
    sums[kNone].add(filtered<V, kNone>(row, i).size());
    sums[kSub].add(filtered<V, kSub>(row, i).size());
    sums[kUp].add(filtered<V, kUp>(row, i).size());
    sums[kAverage].add(filtered<V, kAverage>(row, i).size());
    sums[kPaeth].add(filtered<V, kPaeth>(row, i).size());
  };
  ManyBytes::Sum many[kFilters];
  for (; i < vectored(row); i += ManyBytes::kLanes) add(ManyBytes{}, many);
  OneByte::Sum rest[kFilters];
  for (; i < row.size; ++i) add(OneByte{}, rest);
  std::uint64_t costs[kFilters];
  for (int f = 0; f < kFilters; ++f) costs[f] = many[f].total() + rest[f].total();
  return static_cast<int>(std::min_element(costs, costs + kFilters) - costs);
}

template <int kFilter>
void apply(const Row row, std::uint8_t* dst) {  // by value: dst might alias what is behind it
  std::size_t i = 0;
  for (; i < vectored(row); i += ManyBytes::kLanes) {
    filtered<ManyBytes, kFilter>(row, i).store(dst + i);
  }
  for (; i < row.size; ++i) filtered<OneByte, kFilter>(row, i).store(dst + i);
}

void apply(int filter, const Row& row, std::uint8_t* dst) {
  switch (filter) {
    case kNone: return apply<kNone>(row, dst);
    case kSub: return apply<kSub>(row, dst);
    case kUp: return apply<kUp>(row, dst);
    case kAverage: return apply<kAverage>(row, dst);
    default: return apply<kPaeth>(row, dst);
  }
}

template <class T>
std::uint8_t* put(std::uint8_t* dst, T sample) {
  if constexpr (sizeof(T) == 2) *dst++ = static_cast<std::uint8_t>(sample >> 8);
  *dst++ = static_cast<std::uint8_t>(sample);
  return dst;
}

template <class T, std::size_t kColors>
void interleave(const T* color, const T* alpha, std::size_t width, std::uint8_t* dst) {
  for (std::size_t x = 0; x < width; ++x) {
    for (std::size_t c = 0; c < kColors; ++c) dst = put(dst, color[kColors * x + c]);
    dst = put(dst, alpha[x]);
  }
}

// Row y as PNG stores it.
template <class T>
void pack(const PngRows<T>& rows, std::int64_t y, std::uint8_t* dst) {
  const T* color = rows.color.row(y);
  const std::size_t width = rows.color.width, samples = width * rows.color.channels;
  if (rows.alpha == nullptr) {
    if constexpr (sizeof(T) == 1) {
      std::memcpy(dst, color, samples);
    } else {
      for (std::size_t i = 0; i < samples; ++i) dst = put(dst, color[i]);
    }
    return;
  }
  const T* alpha = rows.alpha + y * rows.alpha_stride;
  switch (rows.color.channels) {
    case 1: return interleave<T, 1>(color, alpha, width, dst);
    case 2: return interleave<T, 2>(color, alpha, width, dst);
    default: return interleave<T, 3>(color, alpha, width, dst);
  }
}

}  // namespace

template <class T>
void filter_png(const PngRows<T>& rows, const PngRows<T>* above, std::uint8_t* dst) {
  start();
  const std::size_t size = rows.row_bytes(), pixel = sizeof(T) * rows.channels();
  std::vector<std::uint8_t> memory(2 * (pixel + size));
  std::uint8_t* current = memory.data() + pixel;
  std::uint8_t* previous = current + size + pixel;
  if (above != nullptr) pack(*above, above->color.height - 1, previous);
  for (std::int64_t y = 0; y < rows.color.height; ++y) {
    pack(rows, y, current);
    const Row row{current, previous, size, pixel};
    const int filter = best_filter(row);
    *dst++ = static_cast<std::uint8_t>(filter);
    apply(filter, row, dst);
    dst += size;
    std::swap(current, previous);
  }
}

template void filter_png(const PngRows<std::uint8_t>&, const PngRows<std::uint8_t>*,
                         std::uint8_t*);
template void filter_png(const PngRows<std::uint16_t>&, const PngRows<std::uint16_t>*,
                         std::uint8_t*);

}  // namespace waifu2x
