// Spreads color by one ring of pixels per iteration. After two linear passes over alpha the work is
// proportional to the number of changed pixels, since the ring is a list.

#include <type_traits>
#include <vector>

#include "kernels.h"

namespace waifu2x {
namespace {

enum State : std::uint8_t {
  kTransparent = 0,  // no color yet
  kColored = 1,      // a source of color for neighbors
  kQueued = 2,       // in the ring of this iteration
  kOutside = 4,      // the border around the picture, in place of bounds checks
};

struct Pixel {
  std::int64_t x;
  std::int64_t y;
};

// The State of each pixel, with a border of one pixel.
class StateMap {
 public:
  StateMap(std::int64_t width, std::int64_t height)
      : pitch_(width + 2),
        states_(static_cast<std::size_t>(pitch_ * (height + 2)), std::uint8_t{kOutside}) {}

  std::uint8_t* at(std::int64_t x, std::int64_t y) {
    return states_.data() + (y + 1) * pitch_ + x + 1;
  }
  std::ptrdiff_t pitch() const { return pitch_; }

 private:
  std::ptrdiff_t pitch_;
  std::vector<std::uint8_t> states_;
};

template <class T>
using Sum = std::conditional_t<std::is_same_v<T, float>, double, std::uint32_t>;

template <class T>
T mean(Sum<T> sum, std::uint32_t count) {
  if constexpr (std::is_same_v<T, float>) {
    return static_cast<T>(sum / count);
  } else {
    return static_cast<T>((2 * sum + count) / (2 * count));  // round half up
  }
}

template <class T>
std::int64_t count_colored(const Image<const T>& alpha) {
  std::int64_t count = 0;
  for (std::int64_t y = 0; y < alpha.height; ++y) {
    const T* row = alpha.row(y);
    for (std::int64_t x = 0; x < alpha.width; ++x) count += row[x] > T{0};
  }
  return count;
}

template <class T>
void classify(const Image<const T>& alpha, StateMap& map) {
  for (std::int64_t y = 0; y < alpha.height; ++y) {
    const T* row = alpha.row(y);
    std::uint8_t* states = map.at(0, y);
    for (std::int64_t x = 0; x < alpha.width; ++x) {
      states[x] = row[x] > T{0} ? kColored : kTransparent;
    }
  }
}

// The transparent pixels next to a colored pixel. Queued pixels do not count as colored, so
// queueing during the scan does not change the result.
std::vector<Pixel> first_ring(std::int64_t width, std::int64_t height, StateMap& map) {
  std::vector<Pixel> ring;
  for (std::int64_t y = 0; y < height; ++y) {
    const std::uint8_t* above = map.at(0, y - 1);
    std::uint8_t* here = map.at(0, y);
    const std::uint8_t* below = map.at(0, y + 1);
    for (std::int64_t x = 0; x < width; ++x) {
      if (here[x] != kTransparent) continue;
      const int around = above[x - 1] | above[x] | above[x + 1] | here[x - 1] | here[x + 1] |
                         below[x - 1] | below[x] | below[x + 1];
      if (around & kColored) {
        here[x] = kQueued;
        ring.push_back({x, y});
      }
    }
  }
  return ring;
}

// Writes the mean of the colored neighbors. Reads only colored pixels and writes only queued
// pixels, so the order within a ring does not matter.
template <class T, int kChannels>
void color_pixel(const Image<T>& color, StateMap& map, Pixel p) {
  const std::uint8_t* state = map.at(p.x, p.y);
  Sum<T> sums[kChannels] = {};
  std::uint32_t count = 0;
  for (std::int64_t dy = -1; dy <= 1; ++dy) {
    for (std::int64_t dx = -1; dx <= 1; ++dx) {
      if (state[dy * map.pitch() + dx] != kColored) continue;
      const T* neighbor = color.row(p.y + dy) + (p.x + dx) * kChannels;
      for (int c = 0; c < kChannels; ++c) sums[c] += neighbor[c];
      ++count;
    }
  }
  T* dst = color.row(p.y) + p.x * kChannels;
  for (int c = 0; c < kChannels; ++c) dst[c] = mean<T>(sums[c], count);
}

void queue_neighbors(StateMap& map, Pixel p, std::vector<Pixel>& ring) {
  std::uint8_t* state = map.at(p.x, p.y);
  for (std::int64_t dy = -1; dy <= 1; ++dy) {
    for (std::int64_t dx = -1; dx <= 1; ++dx) {
      std::uint8_t& neighbor = state[dy * map.pitch() + dx];
      if (neighbor != kTransparent) continue;
      neighbor = kQueued;
      ring.push_back({p.x + dx, p.y + dy});
    }
  }
}

template <class T, int kChannels>
void spread(const Image<T>& color, StateMap& map, std::int64_t iterations) {
  std::vector<Pixel> ring = first_ring(color.width, color.height, map);
  std::vector<Pixel> next;
  for (std::int64_t i = 0; i < iterations && !ring.empty(); ++i) {
    for (const Pixel p : ring) color_pixel<T, kChannels>(color, map, p);
    for (const Pixel p : ring) *map.at(p.x, p.y) = kColored;
    next.clear();
    for (const Pixel p : ring) queue_neighbors(map, p, next);
    ring.swap(next);
  }
}

template <class T>
void bleed_scalar(Image<T> color, Image<const T> alpha, std::int64_t iterations) {
  if (iterations <= 0) return;
  const std::int64_t colored = count_colored(alpha);
  if (colored == 0 || colored == alpha.width * alpha.height) return;
  StateMap map(color.width, color.height);
  classify(alpha, map);
  if (color.channels == 1) {
    spread<T, 1>(color, map, iterations);
  } else {
    spread<T, 3>(color, map, iterations);
  }
}

}  // namespace

void install_bleed_scalar(Kernels& kernels) {
  kernels.u8.bleed = bleed_scalar<std::uint8_t>;
  kernels.u16.bleed = bleed_scalar<std::uint16_t>;
  kernels.f32.bleed = bleed_scalar<float>;
}

}  // namespace waifu2x
