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

// igzip leaves the upper halves of the YMM registers dirty, and new threads inherit the state. Each
// SSE instruction then pays for preserving them: the filters took 3.5 times as long.
#if defined(__GNUC__)
__attribute__((target("avx")))
#endif
void clear_upper_halves() {
  _mm256_zeroupper();
}

void prepare_vectors() {
  static const bool has_avx = levels().size() > 1;
  if (has_avx) clear_upper_halves();
}

#else

void prepare_vectors() {}

#endif

// Vectors of bytes. Byte is the reference and processes the ends of rows. SSE2 and NEON
// belong to the baseline of x86-64 and AArch64, so there is no dispatch at run time. Integer
// arithmetic is exact: all types give the same bytes.
//
//   mean(a, b)           floor((a + b) / 2)
//   add_saturated(a, b)  min(a + b, 255)
//   magnitude()          |v| of a signed byte; 128 for -128
//   less_equal, equal    masks of all ones or all zeros
struct Byte {
  [[maybe_unused]] static constexpr std::size_t kLanes = 1;
  std::uint8_t v;

  static Byte load(const std::uint8_t* p) { return {*p}; }
  void store(std::uint8_t* p) const { *p = v; }
  static Byte of(int v) { return {static_cast<std::uint8_t>(v)}; }

  friend Byte operator-(Byte a, Byte b) { return of(a.v - b.v); }
  friend Byte distance(Byte a, Byte b) { return of(a.v < b.v ? b.v - a.v : a.v - b.v); }
  friend Byte mean(Byte a, Byte b) { return of((a.v + b.v) >> 1); }
  friend Byte add_saturated(Byte a, Byte b) { return of(std::min(a.v + b.v, 255)); }
  friend Byte less_equal(Byte a, Byte b) { return of(a.v <= b.v ? 255 : 0); }
  friend Byte equal(Byte a, Byte b) { return of(a.v == b.v ? 255 : 0); }
  friend Byte bit_and(Byte a, Byte b) { return of(a.v & b.v); }
  friend Byte select(Byte mask, Byte a, Byte b) { return mask.v != 0 ? a : b; }
  Byte magnitude() const { return of(v < 128 ? v : 256 - v); }

  struct Sum {
    std::uint64_t value = 0;
    void add(Byte a) { value += a.v; }
    std::uint64_t total() const { return value; }
  };
};

#if WAIFU2X_X86

struct Bytes {
  static constexpr std::size_t kLanes = 16;
  __m128i v;

  static Bytes load(const std::uint8_t* p) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
  }
  void store(std::uint8_t* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }

  friend Bytes operator-(Bytes a, Bytes b) { return {_mm_sub_epi8(a.v, b.v)}; }
  friend Bytes distance(Bytes a, Bytes b) {
    return {_mm_or_si128(_mm_subs_epu8(a.v, b.v), _mm_subs_epu8(b.v, a.v))};
  }
  friend Bytes mean(Bytes a, Bytes b) {  // pavgb rounds up
    const __m128i odd = _mm_and_si128(_mm_xor_si128(a.v, b.v), _mm_set1_epi8(1));
    return {_mm_sub_epi8(_mm_avg_epu8(a.v, b.v), odd)};
  }
  friend Bytes add_saturated(Bytes a, Bytes b) { return {_mm_adds_epu8(a.v, b.v)}; }
  friend Bytes less_equal(Bytes a, Bytes b) {
    return {_mm_cmpeq_epi8(_mm_min_epu8(a.v, b.v), a.v)};
  }
  friend Bytes equal(Bytes a, Bytes b) { return {_mm_cmpeq_epi8(a.v, b.v)}; }
  friend Bytes bit_and(Bytes a, Bytes b) { return {_mm_and_si128(a.v, b.v)}; }
  friend Bytes select(Bytes mask, Bytes a, Bytes b) {
    return {_mm_or_si128(_mm_and_si128(mask.v, a.v), _mm_andnot_si128(mask.v, b.v))};
  }
  Bytes magnitude() const { return {_mm_min_epu8(v, _mm_sub_epi8(_mm_setzero_si128(), v))}; }

  struct Sum {
    __m128i totals = _mm_setzero_si128();
    void add(Bytes a) {
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

struct Bytes {
  static constexpr std::size_t kLanes = 16;
  uint8x16_t v;

  static Bytes load(const std::uint8_t* p) { return {vld1q_u8(p)}; }
  void store(std::uint8_t* p) const { vst1q_u8(p, v); }

  friend Bytes operator-(Bytes a, Bytes b) { return {vsubq_u8(a.v, b.v)}; }
  friend Bytes distance(Bytes a, Bytes b) { return {vabdq_u8(a.v, b.v)}; }
  friend Bytes mean(Bytes a, Bytes b) { return {vhaddq_u8(a.v, b.v)}; }
  friend Bytes add_saturated(Bytes a, Bytes b) { return {vqaddq_u8(a.v, b.v)}; }
  friend Bytes less_equal(Bytes a, Bytes b) { return {vcleq_u8(a.v, b.v)}; }
  friend Bytes equal(Bytes a, Bytes b) { return {vceqq_u8(a.v, b.v)}; }
  friend Bytes bit_and(Bytes a, Bytes b) { return {vandq_u8(a.v, b.v)}; }
  friend Bytes select(Bytes mask, Bytes a, Bytes b) {
    return {vbslq_u8(mask.v, a.v, b.v)};
  }
  Bytes magnitude() const { return {vreinterpretq_u8_s8(vabsq_s8(vreinterpretq_s8_u8(v)))}; }

  struct Sum {
    uint64x2_t totals = vdupq_n_u64(0);
    void add(Bytes a) {
      totals = vpadalq_u32(totals, vpaddlq_u16(vpaddlq_u8(a.v)));
    }
    std::uint64_t total() const { return vaddvq_u64(totals); }
  };
};

#else

using Bytes = Byte;

#endif

enum Filter { kNone, kSub, kUp, kAverage, kPaeth, kFilters };

// Returns whichever of left, up and corner is nearest to left + up - corner. The distances to left
// and up are |up - corner| and |left - corner|. The distance to the corner is |(up - corner) +
// (left - corner)|: the sum of the two distances if the signs agree, otherwise their difference.
// The sum may saturate at 255, since it is only compared with the other two.
template <class V>
V paeth(V left, V up, V corner) {
  const V to_left = distance(up, corner), to_up = distance(left, corner);
  const V to_corner = select(equal(less_equal(corner, up), less_equal(corner, left)),
                             add_saturated(to_left, to_up), distance(to_left, to_up));
  const V take_left = bit_and(less_equal(to_left, to_up), less_equal(to_left, to_corner));
  return select(take_left, left, select(less_equal(to_up, to_corner), up, corner));
}

// Two packed rows, each preceded by a pixel of zeros.
struct Row {
  const std::uint8_t* bytes;
  const std::uint8_t* above;
  std::size_t size;
  std::size_t pixel;  // in bytes
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

// The bytes of a row that whole vectors cover.
std::size_t vector_bytes(const Row& row) { return row.size - row.size % Bytes::kLanes; }

// The first filter with the minimum sum of magnitudes.
int choose_filter(const Row& row) {
  std::size_t i = 0;
  const auto add = [&](auto lane, auto& sums) {
    using V = decltype(lane);
    sums[kNone].add(filtered<V, kNone>(row, i).magnitude());
    sums[kSub].add(filtered<V, kSub>(row, i).magnitude());
    sums[kUp].add(filtered<V, kUp>(row, i).magnitude());
    sums[kAverage].add(filtered<V, kAverage>(row, i).magnitude());
    sums[kPaeth].add(filtered<V, kPaeth>(row, i).magnitude());
  };
  Bytes::Sum many[kFilters];
  for (; i < vector_bytes(row); i += Bytes::kLanes) add(Bytes{}, many);
  Byte::Sum rest[kFilters];
  for (; i < row.size; ++i) add(Byte{}, rest);
  std::uint64_t costs[kFilters];
  for (int f = 0; f < kFilters; ++f) costs[f] = many[f].total() + rest[f].total();
  return static_cast<int>(std::min_element(costs, costs + kFilters) - costs);
}

template <int kFilter>
void apply(const Row row, std::uint8_t* dst) {  // by value: dst may alias a reference
  std::size_t i = 0;
  for (; i < vector_bytes(row); i += Bytes::kLanes) {
    filtered<Bytes, kFilter>(row, i).store(dst + i);
  }
  for (; i < row.size; ++i) filtered<Byte, kFilter>(row, i).store(dst + i);
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
std::uint8_t* append(std::uint8_t* dst, T sample) {
  if constexpr (sizeof(T) == 2) *dst++ = static_cast<std::uint8_t>(sample >> 8);
  *dst++ = static_cast<std::uint8_t>(sample);
  return dst;
}

template <class T, std::size_t kChannels>
void interleave(const T* color, const T* alpha, std::size_t width, std::uint8_t* dst) {
  for (std::size_t x = 0; x < width; ++x) {
    for (std::size_t c = 0; c < kChannels; ++c) dst = append(dst, color[kChannels * x + c]);
    dst = append(dst, alpha[x]);
  }
}

// Packs row y in the byte order of PNG.
template <class T>
void pack(const PngRows<T>& rows, std::int64_t y, std::uint8_t* dst) {
  const T* color = rows.color.row(y);
  const std::size_t width = rows.color.width, samples = width * rows.color.channels;
  if (rows.alpha == nullptr) {
    if constexpr (sizeof(T) == 1) {
      std::memcpy(dst, color, samples);
    } else {
      for (std::size_t i = 0; i < samples; ++i) dst = append(dst, color[i]);
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
  prepare_vectors();
  const std::size_t size = rows.row_bytes(), pixel = sizeof(T) * rows.channels();
  std::vector<std::uint8_t> memory(2 * (pixel + size));
  std::uint8_t* current = memory.data() + pixel;
  std::uint8_t* previous = current + size + pixel;
  if (above != nullptr) pack(*above, above->color.height - 1, previous);
  for (std::int64_t y = 0; y < rows.color.height; ++y) {
    pack(rows, y, current);
    const Row row{current, previous, size, pixel};
    const int filter = choose_filter(row);
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
