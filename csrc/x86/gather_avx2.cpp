#include "kernels.h"

#if WAIFU2X_X86

#include "x86/avx2.h"
#include "sample.h"

WAIFU2X_AVX2_BEGIN

namespace waifu2x {
namespace {

constexpr std::size_t kStep = 8;

// Divides: a product with 1 / 255 would be off by one bit for some samples.
template <class T>
inline __m256 normalize8(__m256i v) {
  return _mm256_div_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(kFull<T>));
}

// v is (bytes 0-15 | bytes 8-23) of 24 bytes: each lane holds four pixels, and no load reads past
// the last pixel. A shuffle extracts a channel and widens it to 32 bits.
inline __m256i pick_u8(__m256i v, int channel) {
  // Each 32-bit element of the mask: the index of the byte, then three 0xFF, which write zeros.
  const __m256i red = _mm256_setr_epi32(0, 3, 6, 9, 4, 7, 10, 13);
  const __m256i zeros = _mm256_set1_epi32(static_cast<int>(0xFFFFFF00u));
  const __m256i byte = _mm256_add_epi32(red, _mm256_set1_epi32(channel));
  return _mm256_shuffle_epi8(v, _mm256_or_si256(byte, zeros));
}

void gather_rgb_u8_avx2(const std::uint8_t* src, float* r, float* g, float* b, std::size_t n) {
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m256i v = load_lanes(src + 3 * i, src + 3 * i + 8);
    _mm256_storeu_ps(r + i, normalize8<std::uint8_t>(pick_u8(v, 0)));
    _mm256_storeu_ps(g + i, normalize8<std::uint8_t>(pick_u8(v, 1)));
    _mm256_storeu_ps(b + i, normalize8<std::uint8_t>(pick_u8(v, 2)));
  }
  for (; i < n; ++i) {
    r[i] = normalize(src[3 * i]);
    g[i] = normalize(src[3 * i + 1]);
    b[i] = normalize(src[3 * i + 2]);
  }
}

// The four pixels of a lane are twelve 16-bit samples: 0-7 in head, 4-11 in tail. Samples of a
// channel below 8 come from head, the others from tail.
struct PickU16 {
  __m256i head, tail;
};

inline PickU16 pick_mask_u16(int channel) {
  alignas(16) std::int8_t head[16];
  alignas(16) std::int8_t tail[16];
  for (int i = 0; i < 16; ++i) {
    head[i] = tail[i] = -1;  // writes a zero
    if (i % 4 >= 2) continue;
    const int sample = channel + 3 * (i / 4);
    const int byte = 2 * sample + i % 4;
    (sample < 8 ? head : tail)[i] = static_cast<std::int8_t>(sample < 8 ? byte : byte - 8);
  }
  return {_mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(head))),
          _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(tail)))};
}

inline __m256i pick_u16(__m256i head, __m256i tail, const PickU16& mask) {
  return _mm256_or_si256(_mm256_shuffle_epi8(head, mask.head),
                         _mm256_shuffle_epi8(tail, mask.tail));
}

void gather_rgb_u16_avx2(const std::uint16_t* src, float* r, float* g, float* b, std::size_t n) {
  const PickU16 red = pick_mask_u16(0), green = pick_mask_u16(1), blue = pick_mask_u16(2);
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const std::uint16_t* s = src + 3 * i;
    const __m256i head = load_lanes(s, s + 12);
    const __m256i tail = load_lanes(s + 4, s + 16);
    _mm256_storeu_ps(r + i, normalize8<std::uint16_t>(pick_u16(head, tail, red)));
    _mm256_storeu_ps(g + i, normalize8<std::uint16_t>(pick_u16(head, tail, green)));
    _mm256_storeu_ps(b + i, normalize8<std::uint16_t>(pick_u16(head, tail, blue)));
  }
  for (; i < n; ++i) {
    r[i] = normalize(src[3 * i]);
    g[i] = normalize(src[3 * i + 1]);
    b[i] = normalize(src[3 * i + 2]);
  }
}

void gather_rgb_f32_avx2(const float* src, float* r, float* g, float* b, std::size_t n) {
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const float* s = src + 3 * i;
    const Pixels p = deinterleave({_mm256_castsi256_ps(load_lanes(s, s + 12)),
                                   _mm256_castsi256_ps(load_lanes(s + 4, s + 16)),
                                   _mm256_castsi256_ps(load_lanes(s + 8, s + 20))});
    _mm256_storeu_ps(r + i, p.r);
    _mm256_storeu_ps(g + i, p.g);
    _mm256_storeu_ps(b + i, p.b);
  }
  for (; i < n; ++i) {
    r[i] = src[3 * i];
    g[i] = src[3 * i + 1];
    b[i] = src[3 * i + 2];
  }
}

void gather_gray_u8_avx2(const std::uint8_t* src, float* dst, std::size_t n) {
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(src + i));
    _mm256_storeu_ps(dst + i, normalize8<std::uint8_t>(_mm256_cvtepu8_epi32(v)));
  }
  for (; i < n; ++i) dst[i] = normalize(src[i]);
}

void gather_gray_u16_avx2(const std::uint16_t* src, float* dst, std::size_t n) {
  std::size_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i));
    _mm256_storeu_ps(dst + i, normalize8<std::uint16_t>(_mm256_cvtepu16_epi32(v)));
  }
  for (; i < n; ++i) dst[i] = normalize(src[i]);
}

}  // namespace

// gather_gray of float32 is a copy: the scalar kernel suffices.
void install_gather_avx2(Kernels& kernels) {
  kernels.u8.gather_rgb = gather_rgb_u8_avx2;
  kernels.u8.gather_gray = gather_gray_u8_avx2;
  kernels.u16.gather_rgb = gather_rgb_u16_avx2;
  kernels.u16.gather_gray = gather_gray_u16_avx2;
  kernels.f32.gather_rgb = gather_rgb_f32_avx2;
}

}  // namespace waifu2x

WAIFU2X_AVX2_END

#endif
