// Sources and sinks of the engine: where a run reads its input and writes its output.
//
// Planes are rows of n floats, one per channel, `stride` floats apart. Several threads call read()
// and write() at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "tiles.h"

namespace waifu2x::engine {

struct Source {
  virtual ~Source() = default;
  virtual void read(int y, int x, int n, float* planes, std::ptrdiff_t stride) const = 0;
};
struct Sink {
  virtual ~Sink() = default;
  virtual void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) = 0;
};

// Dense (channels, height, width) planes.
struct PlaneSource : Source {
  const float* data;
  int channels, height, width;

  PlaneSource(const float* d, int c, int h, int w) : data(d), channels(c), height(h), width(w) {}
  void read(int y, int x, int n, float* planes, std::ptrdiff_t stride) const override {
    for (int c = 0; c < channels; ++c) {
      std::memcpy(planes + c * stride,
                  data + (static_cast<std::ptrdiff_t>(c) * height + y) * width + x,
                  static_cast<std::size_t>(n) * sizeof(float));
    }
  }
};

// Dense (channels, height, width) planes for the part of the output that starts at (left, top).
struct PlaneSink : Sink {
  float* data;
  int channels;
  std::int64_t height, width, left, top;

  PlaneSink(float* d, int c, std::int64_t h, std::int64_t w, std::int64_t x, std::int64_t y)
      : data(d), channels(c), height(h), width(w), left(x), top(y) {}
  void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) override {
    for (int c = 0; c < channels; ++c) {
      std::memcpy(data + (c * height + (y - top)) * width + (x - left), planes + c * stride,
                  static_cast<std::size_t>(n) * sizeof(float));
    }
  }
};

// A window of a picture with its top left at (left, top); repeats the edges of the picture.
template <class T>
struct PictureSource : Source {
  const waifu2x::Kernels& kernels;
  Image<const T> picture;
  std::int64_t left, top;

  PictureSource(const waifu2x::Kernels& k, const Image<const T>& p, std::int64_t x, std::int64_t y)
      : kernels(k), picture(p), left(x), top(y) {}
  void read(int y, int x, int n, float* planes, std::ptrdiff_t) const override {
    const std::int64_t column = left + x, row = top + y;
    gather<T>(kernels, picture, {&column, &row, 1, n, 1}, planes);
  }
};

// Counts the complete rows of an output from the top. Many threads add, a single thread counts.
class ReadyRows {
 public:
  ReadyRows(std::int64_t rows, std::int64_t width)
      : written_(static_cast<std::size_t>(rows)), width_(width) {}

  void add(std::int64_t row, int pixels) {
    written_[static_cast<std::size_t>(row)].fetch_add(pixels, std::memory_order_release);
  }
  std::size_t count() {
    while (ready_ < written_.size() &&
           written_[ready_].load(std::memory_order_acquire) == width_) {
      ++ready_;
    }
    return ready_;
  }

 private:
  std::vector<std::atomic<std::int64_t>> written_;
  const std::int64_t width_;
  std::size_t ready_ = 0;
};

// A picture for the part of the output that starts at (left, top): clamps, quantizes, and counts
// the samples that are not finite.
template <class T>
struct PictureSink : Sink {
  const waifu2x::Kernels& kernels;
  Image<T> picture;
  std::int64_t left, top;
  ReadyRows& ready;
  std::atomic<std::size_t> not_finite{0};

  PictureSink(const waifu2x::Kernels& k, const Image<T>& p, std::int64_t x, std::int64_t y,
              ReadyRows& r)
      : kernels(k), picture(p), left(x), top(y), ready(r) {}
  void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) override {
    const Planes row{planes, 1, n, stride, stride};
    const std::size_t bad = blend<T>(kernels, row, 0, 0, picture, {x - left, y - top, n, 1});
    if (bad > 0) not_finite += bad;
    ready.add(y - top, n);
  }
};

}  // namespace waifu2x::engine
