#include "color_fix.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "sample.h"

namespace waifu2x {
namespace {

// Range of the 3x3 source pixels around, in the widest channel: from kEdge on, a pixel counts
// nothing; up to kExact, its color replaces the result, and from kInexact on it does not.
constexpr float kEdge = 12.0f / 255.0f;
constexpr float kExact = 0.25f / 255.0f;
constexpr float kInexact = 0.75f / 255.0f;
// The color of pixels outside the picture: unlike any other, so that they count nothing.
constexpr float kOutside = 1e4f;

// Planes of a source row. Gray has one plane of each kind of color.
enum Plane : std::int64_t {
  kColor = 0,
  kDrift = 3,
  kFlat = 6,
  kExactShare = 7,
  kLow = 8,
  kHigh = 11,
  kMean = 14,
  kConfidence = 17,
  kPlanes = 18,
};

// Planes of a source row at the width of the result, as apply_drift reads them.
constexpr std::int64_t kWidePlanes = 8;

// Weights of three neighboring source pixels in the k parts of the middle pixel: a quadratic
// B-spline, which returns gradients as they are.
struct Spline {
  explicit Spline(std::int64_t k) : scale(k), weights(static_cast<std::size_t>(3 * k)) {
    for (std::int64_t i = 0; i < k; ++i) {
      const float t = (static_cast<float>(i) + 0.5f) / static_cast<float>(k);
      at(0, i) = 0.5f * (1.0f - t) * (1.0f - t);
      at(1, i) = 0.75f - (t - 0.5f) * (t - 0.5f);
      at(2, i) = 0.5f * t * t;
    }
  }
  float& at(std::int64_t neighbor, std::int64_t part) {
    return weights[static_cast<std::size_t>(neighbor * scale + part)];
  }

  std::int64_t scale;
  std::vector<float> weights;
};

template <class T>
class ColorFix {
 public:
  ColorFix(const Kernels& kernels, const Image<const T>& source, const Image<const float>& result,
           std::int64_t scale, std::int64_t first, std::int64_t count)
      : kernels_(kernels),
        source_(source),
        result_(result),
        scale_(scale),
        first_(first),
        end_(first + count),
        top_(std::max<std::int64_t>(0, first - kColorFixHalo)),
        bottom_(std::min(source.height, end_ + kColorFixHalo)),
        width_(source.width),
        wide_(source.width * scale),
        pitch_(source.width + 2 * kColorFixReach),
        wide_pitch_((source.width + 2) * scale),
        planes_(static_cast<std::size_t>((bottom_ - top_) * kPlanes * pitch_)),
        spread_(static_cast<std::size_t>(3 * kWidePlanes * wide_pitch_)),
        range_(static_cast<std::size_t>(6 * wide_)),
        across_(static_cast<std::size_t>(3 * wide_)),
        row_(static_cast<std::size_t>(6 * wide_)),
        sums_(static_cast<std::size_t>(8 * width_)),
        spline_(scale) {}

  void run(const Image<float>& out) {
    for (std::int64_t y = top_; y < bottom_; ++y) read_color(y);
    const std::int64_t from = std::max<std::int64_t>(top_, first_ - 1 - kColorFixReach);
    const std::int64_t to = std::min(bottom_, end_ + 1 + kColorFixReach);
    for (std::int64_t y = from; y < to; ++y) {
      measure_range(y);
      measure_drift(y);
    }
    for (std::int64_t y = from; y < to; ++y) {
      for (std::int64_t c = 0; c < source_.channels; ++c) {
        pad(plane(y, kColor + c), kOutside, kOutside);
      }
    }
    for (std::int64_t neighbor = 0; neighbor < 3; ++neighbor) {
      for (std::int64_t x = 0; x < wide_; ++x) {
        across_[static_cast<std::size_t>(neighbor * wide_ + x)] = spline_.at(neighbor, x % scale_);
      }
    }
    for (std::int64_t y = std::max(top_, first_ - 1); y <= first_; ++y) spread(y, from, to);
    for (std::int64_t y = first_; y < end_; ++y) {
      if (y + 1 < bottom_) spread(y + 1, from, to);
      write(y, out);
    }
  }

 private:
  std::int64_t channel(std::int64_t c) const { return std::min(c, source_.channels - 1); }

  // The first pixel of a plane; kColorFixReach pixels of padding lie before it.
  float* plane(std::int64_t y, std::int64_t index) {
    return planes_.data() + ((y - top_) * kPlanes + index) * pitch_ + kColorFixReach;
  }

  // The first pixel of a spread row; `scale` pixels of padding lie before it.
  float* spread_row(std::int64_t y) {
    return spread_.data() + y % 3 * kWidePlanes * wide_pitch_ + scale_;
  }

  void pad(float* row, float before, float after) const {
    std::fill_n(row - kColorFixReach, kColorFixReach, before);
    std::fill_n(row + width_, kColorFixReach, after);
  }

  void read_color(std::int64_t y) {
    const T* from = source_.row(y);
    for (std::int64_t c = 0; c < source_.channels; ++c) {
      float* to = plane(y, kColor + c);
      for (std::int64_t x = 0; x < width_; ++x) to[x] = normalize(from[x * source_.channels + c]);
      pad(to, to[0], to[width_ - 1]);
    }
  }

  void measure_range(std::int64_t y) {
    const std::int64_t above = std::max(top_, y - 1), below = std::min(bottom_ - 1, y + 1);
    float* flat = plane(y, kFlat);
    float* exact = plane(y, kExactShare);
    std::fill_n(flat, width_, 0.0f);
    for (std::int64_t c = 0; c < source_.channels; ++c) {
      const float* rows[] = {plane(above, kColor + c), plane(y, kColor + c),
                             plane(below, kColor + c)};
      float* low = plane(y, kLow + c);
      float* high = plane(y, kHigh + c);
      for (std::int64_t x = 0; x < width_; ++x) {
        float least = rows[0][x], most = least;
        for (const float* row : rows) {
          for (std::int64_t i = x - 1; i <= x + 1; ++i) {
            least = row[i] < least ? row[i] : least;
            most = row[i] > most ? row[i] : most;
          }
        }
        low[x] = least;
        high[x] = most;
        flat[x] = std::max(flat[x], most - least);
      }
    }
    for (std::int64_t x = 0; x < width_; ++x) {
      const float range = flat[x], edge = range * (1.0f / kEdge);
      exact[x] = std::clamp((kInexact - range) * (1.0f / (kInexact - kExact)), 0.0f, 1.0f);
      flat[x] = std::max(0.0f, 1.0f - edge * edge);
    }
    pad(flat, 0.0f, 0.0f);
  }

  void measure_drift(std::int64_t y) {
    const std::int64_t channels = source_.channels;
    const float share = 1.0f / static_cast<float>(scale_ * scale_);
    for (std::int64_t c = 0; c < channels; ++c) {
      float* sums = plane(y, kDrift + c);
      std::fill_n(sums, width_, 0.0f);
      for (std::int64_t part = 0; part < scale_; ++part) {
        const float* from = result_.row(y * scale_ + part) + c;
        for (std::int64_t x = 0; x < width_; ++x) {
          float sum = 0.0f;
          for (std::int64_t i = 0; i < scale_; ++i, from += channels) sum += *from;
          sums[x] += sum;
        }
      }
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* color = plane(y, kColor + c);
      float* drift = plane(y, kDrift + c);
      for (std::int64_t x = 0; x < width_; ++x) drift[x] = color[x] - drift[x] * share;
      pad(drift, 0.0f, 0.0f);
    }
  }

  // Averages the drift of row y over the rows [from, to), and spreads the row.
  void spread(std::int64_t y, std::int64_t from, std::int64_t to) {
    DriftRow rows[2 * kColorFixReach + 1];
    const std::int64_t above = std::max(from, y - kColorFixReach);
    const std::int64_t below = std::min(to - 1, y + kColorFixReach);
    for (std::int64_t i = above; i <= below; ++i) {
      DriftRow& row = rows[i - above];
      for (std::int64_t c = 0; c < 3; ++c) {
        row.color[c] = plane(i, kColor + channel(c));
        row.drift[c] = plane(i, kDrift + channel(c));
      }
      row.flat = plane(i, kFlat);
    }
    float* mean[] = {plane(y, kMean), plane(y, kMean + 1), plane(y, kMean + 2)};
    kernels_.average_drift(rows, static_cast<std::size_t>(below - above + 1),
                           static_cast<std::size_t>(y - above), sums_.data(), mean,
                           plane(y, kConfidence),
                           static_cast<std::size_t>(width_));
    float* to_row = spread_row(y);
    for (std::int64_t c = 0; c < 3; ++c) {
      widen(plane(y, kColor + channel(c)), to_row + c * wide_pitch_);
      widen(mean[c], to_row + (3 + c) * wide_pitch_);
    }
    widen(plane(y, kConfidence), to_row + 6 * wide_pitch_);
    widen(plane(y, kExactShare), to_row + 7 * wide_pitch_);
  }

  // Repeats every pixel `scale` times, and the first and the last once more.
  void widen(const float* from, float* to) const {
    for (std::int64_t x = 0; x < width_; ++x) std::fill_n(to + x * scale_, scale_, from[x]);
    std::fill_n(to - scale_, scale_, from[0]);
    std::fill_n(to + wide_, scale_, from[width_ - 1]);
  }

  void write(std::int64_t y, const Image<float>& out) {
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t x = 0; x < width_; ++x) {
        std::fill_n(range_.data() + c * wide_ + x * scale_, scale_,
                    plane(y, kLow + channel(c))[x]);
        std::fill_n(range_.data() + (3 + c) * wide_ + x * scale_, scale_,
                    plane(y, kHigh + channel(c))[x]);
      }
    }
    CorrectedRow row;
    row.above = spread_row(std::max(top_, y - 1));
    row.here = spread_row(y);
    row.below = spread_row(std::min(bottom_ - 1, y + 1));
    row.plane = wide_pitch_;
    row.step = scale_;
    row.across = across_.data();
    row.range = range_.data();
    for (std::int64_t part = 0; part < scale_; ++part) {
      for (std::int64_t i = 0; i < 3; ++i) row.down[i] = spline_.at(i, part);
      correct(row, result_.row(y * scale_ + part), out.row((y - first_) * scale_ + part));
    }
  }

  void correct(const CorrectedRow& row, const float* from, float* to) {
    const std::int64_t channels = source_.channels;
    float* read[3];
    float* written[3];
    for (std::int64_t c = 0; c < 3; ++c) {
      read[c] = row_.data() + channel(c) * wide_;
      written[c] = row_.data() + (3 + c) * wide_;
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t x = 0; x < wide_; ++x) read[c][x] = from[x * channels + c];
    }
    kernels_.apply_drift(row, read[0], read[1], read[2], written[0], written[1], written[2],
                         static_cast<std::size_t>(wide_));
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t x = 0; x < wide_; ++x) to[x * channels + c] = written[c][x];
    }
  }

  const Kernels& kernels_;
  const Image<const T>& source_;
  const Image<const float>& result_;
  const std::int64_t scale_;
  const std::int64_t first_, end_;   // source rows to correct
  const std::int64_t top_, bottom_;  // source rows that are read
  const std::int64_t width_, wide_;  // of a row of the source and of the result
  const std::int64_t pitch_, wide_pitch_;
  std::vector<float> planes_;
  std::vector<float> spread_;
  std::vector<float> range_;
  std::vector<float> across_;
  std::vector<float> row_;
  std::vector<float> sums_;
  Spline spline_;
};

}  // namespace

template <class T>
void fix_colors(const Kernels& kernels, const Image<const T>& source,
                const Image<const float>& result, const Image<float>& out, std::int64_t scale,
                std::int64_t first) {
  ColorFix<T>(kernels, source, result, scale, first, out.height / scale).run(out);
}

#define WAIFU2X_INSTANTIATE(T)                                                                 \
  template void fix_colors<T>(const Kernels&, const Image<const T>&, const Image<const float>&, \
                              const Image<float>&, std::int64_t, std::int64_t);

WAIFU2X_INSTANTIATE(std::uint8_t)
WAIFU2X_INSTANTIATE(std::uint16_t)
WAIFU2X_INSTANTIATE(float)

#undef WAIFU2X_INSTANTIATE

}  // namespace waifu2x
