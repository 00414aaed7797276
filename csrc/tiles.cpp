#include "tiles.h"

#include <algorithm>
#include <cstring>

namespace waifu2x {
namespace {

// An axis of a window: `before` copies of the first source pixel, `count` source pixels starting at
// `first`, `after` copies of the last. count >= 1, even for a window outside the picture.
struct Span {
  std::int64_t first;
  std::int64_t before;
  std::int64_t count;
  std::int64_t after;
};

Span clip(std::int64_t start, std::int64_t length, std::int64_t limit) {
  // Clamping does not change the window and prevents overflow.
  start = std::clamp(start, -length, limit);
  Span span;
  span.first = std::clamp<std::int64_t>(start, 0, limit - 1);
  span.before = std::clamp<std::int64_t>(span.first - start, 0, length - 1);
  const std::int64_t last = std::clamp<std::int64_t>(start + length - 1, 0, limit - 1);
  span.count = last - span.first + 1;
  span.after = length - span.before - span.count;
  return span;
}

void repeat_edges(float* row, const Span& span) {
  float* body = row + span.before;
  std::fill_n(row, span.before, body[0]);
  std::fill_n(body + span.count, span.after, body[span.count - 1]);
}

}  // namespace

template <class T>
void gather(const Kernels& kernels, const Image<const T>& src, const Windows& windows,
            float* dst) {
  const SampleKernels<T>& samples = samples_of<T>(kernels);
  const std::int64_t width = windows.width;
  const std::int64_t plane = windows.height * width;
  for (std::int64_t i = 0; i < windows.count; ++i, dst += 3 * plane) {
    const Span across = clip(windows.xs[i], width, src.width);
    const Span down = clip(windows.ys[i], windows.height, src.height);
    const auto n = static_cast<std::size_t>(across.count);
    for (std::int64_t y = 0; y < windows.height; ++y) {
      const std::int64_t within = std::clamp<std::int64_t>(y - down.before, 0, down.count - 1);
      const T* from = src.pixel(across.first, down.first + within);
      float* r = dst + y * width;
      float* g = r + plane;
      float* b = g + plane;
      if (src.channels == 1) {
        samples.gather_gray(from, r + across.before, n);
        repeat_edges(r, across);
        const std::size_t bytes = static_cast<std::size_t>(width) * sizeof(float);
        std::memcpy(g, r, bytes);
        std::memcpy(b, r, bytes);
      } else {
        samples.gather_rgb(from, r + across.before, g + across.before, b + across.before, n);
        repeat_edges(r, across);
        repeat_edges(g, across);
        repeat_edges(b, across);
      }
    }
  }
}

template <class T>
std::size_t blend(const Kernels& kernels, const Planes& src, std::int64_t src_x,
                  std::int64_t src_y, const Image<T>& dst, const Rect& to) {
  const SampleKernels<T>& samples = samples_of<T>(kernels);
  const auto row = dst.channels == 1 ? samples.blend_gray : samples.blend_rgb;
  std::size_t bad = 0;
  for (std::int64_t y = 0; y < to.height; ++y) {
    bad += row(src.row(0, src_y + y) + src_x, src.row(1, src_y + y) + src_x,
               src.row(2, src_y + y) + src_x, dst.pixel(to.x, to.y + y),
               static_cast<std::size_t>(to.width));
  }
  return bad;
}

void blend_feathered(const Kernels& kernels, const Planes& src, std::int64_t src_x,
                     std::int64_t src_y, const Image<float>& canvas, const Rect& to,
                     const float* wx, const float* wy) {
  const auto row = canvas.channels == 1 ? kernels.feather_gray : kernels.feather_rgb;
  for (std::int64_t y = 0; y < to.height; ++y) {
    row(src.row(0, src_y + y) + src_x, src.row(1, src_y + y) + src_x,
        src.row(2, src_y + y) + src_x, wx, wy[y], canvas.pixel(to.x, to.y + y),
        static_cast<std::size_t>(to.width));
  }
}

template <class T>
std::size_t quantize(const Kernels& kernels, const Image<const float>& src, const Image<T>& dst) {
  const SampleKernels<T>& samples = samples_of<T>(kernels);
  std::size_t bad = 0;
  for (std::int64_t y = 0; y < src.height; ++y) {
    bad += samples.quantize(src.row(y), dst.row(y),
                            static_cast<std::size_t>(src.width * src.channels));
  }
  return bad;
}

#define WAIFU2X_INSTANTIATE(T)                                                                 \
  template void gather<T>(const Kernels&, const Image<const T>&, const Windows&, float*);      \
  template std::size_t blend<T>(const Kernels&, const Planes&, std::int64_t, std::int64_t,     \
                                const Image<T>&, const Rect&);                                 \
  template std::size_t quantize<T>(const Kernels&, const Image<const float>&, const Image<T>&);

WAIFU2X_INSTANTIATE(std::uint8_t)
WAIFU2X_INSTANTIATE(std::uint16_t)
WAIFU2X_INSTANTIATE(float)

#undef WAIFU2X_INSTANTIATE

}  // namespace waifu2x
