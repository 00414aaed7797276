// The row kernels of color_fix.h. Each instruction set includes this file inside its target switch
// and an unnamed namespace, and the compiler vectorizes the loops. Every operation is rounded in
// the order written, so that all return the same bits. Uses no standard header: see x86/avx2.h.

// Differences of color at which a weight is 1/4: the root of the sum of the squares of three
// channels.
constexpr float kSourceLikeness = 10.0f / 255.0f;
constexpr float kResultLikeness = 10.0f / 255.0f;
// Source pixels on each side of the mean regardless of flatness.
constexpr int kNearReach = 2;
// Total weight of flat pixels from which their mean counts fully.
constexpr float kEnoughPixels = 3.0f;
// Weight of a correction without flat pixels, relative to one with enough of them.
constexpr float kUnsure = 0.5f;
// Rounding of the interpolation's weights, which add up to 1.
constexpr float kRounding = 1.00001f;

WAIFU2X_INLINE float smaller(float a, float b) { return a < b ? a : b; }
WAIFU2X_INLINE float larger(float a, float b) { return a > b ? a : b; }

// 1 for equal colors, falling with the square of the squared difference.
WAIFU2X_INLINE float likeness(float r, float g, float b, float scale) {
  const float falling = 1.0f + (r * r + g * g + b * b) * scale;
  return 1.0f / (falling * falling);
}

// Adds the drift of a row, seen from the pixels of the row `own`. With Near, adds to both sums, the
// second regardless of flatness. Sums are parameters, so that the compiler trusts __restrict.
template <bool Near>
void add_drift(const DriftRow& own, const DriftRow& row, float* __restrict flat_weight,
               float* __restrict flat_r, float* __restrict flat_g, float* __restrict flat_b,
               float* __restrict any_weight, float* __restrict any_r, float* __restrict any_g,
               float* __restrict any_b, std::size_t n) {
  constexpr float kScale = 1.0f / (kSourceLikeness * kSourceLikeness);
  const float* own_r = own.color[0];
  const float* own_g = own.color[1];
  const float* own_b = own.color[2];
  const float* r = row.color[0];
  const float* g = row.color[1];
  const float* b = row.color[2];
  const float* dr = row.drift[0];
  const float* dg = row.drift[1];
  const float* db = row.drift[2];
  const float* flatness = row.flat;
  for (std::size_t i = 0; i < n; ++i) {
    const float like = likeness(own_r[i] - r[i], own_g[i] - g[i], own_b[i] - b[i], kScale);
    const float weight = flatness[i] * like;
    flat_weight[i] += weight;
    flat_r[i] += weight * dr[i];
    flat_g[i] += weight * dg[i];
    flat_b[i] += weight * db[i];
    if (Near) {
      any_weight[i] += like;
      any_r[i] += like * dr[i];
      any_g[i] += like * dg[i];
      any_b[i] += like * db[i];
    }
  }
}

void finish_mean(const float* flat_weight, const float* flat_r, const float* flat_g,
                 const float* flat_b, const float* any_weight, const float* any_r,
                 const float* any_g, const float* any_b, float* __restrict mean_r,
                 float* __restrict mean_g, float* __restrict mean_b,
                 float* __restrict confidence, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const float enough = smaller(1.0f, flat_weight[i] * (1.0f / kEnoughPixels));
    const float share = enough / larger(flat_weight[i], 1e-6f);
    // Without flat pixels, only the hue is corrected.
    const float other = (1.0f - enough) / any_weight[i];
    const float gray = luma(any_r[i], any_g[i], any_b[i]);
    mean_r[i] = share * flat_r[i] + other * (any_r[i] - gray);
    mean_g[i] = share * flat_g[i] + other * (any_g[i] - gray);
    mean_b[i] = share * flat_b[i] + other * (any_b[i] - gray);
    confidence[i] = enough + (1.0f - enough) * kUnsure;
  }
}

void average_drift(const DriftRow* rows, std::size_t count, std::size_t own, float* scratch,
                   float* const* mean, float* confidence, std::size_t n) {
  for (std::size_t i = 0; i < 8 * n; ++i) scratch[i] = 0.0f;
  float* sums[8];
  for (std::size_t i = 0; i < 8; ++i) sums[i] = scratch + i * n;
  for (std::size_t y = 0; y < count; ++y) {
    const bool near_row = y + kNearReach >= own && y <= own + kNearReach;
    for (int x = -kColorFixReach; x <= kColorFixReach; ++x) {
      DriftRow row = rows[y];
      for (int c = 0; c < 3; ++c) {
        row.color[c] += x;
        row.drift[c] += x;
      }
      row.flat += x;
      const bool near = near_row && x >= -kNearReach && x <= kNearReach;
      (near ? add_drift<true> : add_drift<false>)(rows[own], row, sums[0], sums[1], sums[2],
                                                  sums[3], sums[4], sums[5], sums[6], sums[7], n);
    }
  }
  finish_mean(sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7], mean[0],
              mean[1], mean[2], confidence, n);
}

// What the nine source pixels around a pixel of the result add up to.
struct Around {
  float weight = 0.0f, exact = 0.0f;
  float dr = 0.0f, dg = 0.0f, db = 0.0f;  // drift
  float sr = 0.0f, sg = 0.0f, sb = 0.0f;  // difference of color to the source pixel below
};

struct Color {
  float r, g, b;
};

WAIFU2X_INLINE void add_pixel(Around& sum, const float* pixel, std::ptrdiff_t plane, float space,
                              Color result, Color source) {
  constexpr float kScale = 1.0f / (kResultLikeness * kResultLikeness);
  const float r = pixel[0], g = pixel[plane], b = pixel[2 * plane];
  const float dr = pixel[3 * plane], dg = pixel[4 * plane], db = pixel[5 * plane];
  const float sure = space * pixel[6 * plane];
  const float exact = space * pixel[7 * plane];
  const float weight = sure * likeness(result.r - (r - dr), result.g - (g - dg),
                                       result.b - (b - db), kScale);
  sum.weight += weight;
  sum.dr += weight * dr;
  sum.dg += weight * dg;
  sum.db += weight * db;
  sum.exact += exact;
  sum.sr += exact * (r - source.r);
  sum.sg += exact * (g - source.g);
  sum.sb += exact * (b - source.b);
}

WAIFU2X_INLINE float corrected(float result, float drift, float low, float high, float exact,
                               float color) {
  const float fixed = smaller(larger(result + drift, smaller(result, low)), larger(result, high));
  return exact * color + (1.0f - exact) * fixed;
}

void apply_drift(const CorrectedRow& row, const float* result_r, const float* result_g,
                 const float* result_b, float* __restrict out_r, float* __restrict out_g,
                 float* __restrict out_b, std::size_t n) {
  const float* above = row.above;
  const float* here = row.here;
  const float* below = row.below;
  const float* left = row.across;
  const float* middle = left + n;
  const float* right = middle + n;
  const float* range = row.range;
  const std::ptrdiff_t plane = row.plane, step = row.step;
  const float up = row.down[0], level = row.down[1], down = row.down[2];
  const auto width = static_cast<std::ptrdiff_t>(n);
  for (std::ptrdiff_t i = 0; i < width; ++i) {
    const Color result = {result_r[i], result_g[i], result_b[i]};
    const Color source = {here[i], here[i + plane], here[i + 2 * plane]};
    Around sum;
    add_pixel(sum, above + i - step, plane, up * left[i], result, source);
    add_pixel(sum, above + i, plane, up * middle[i], result, source);
    add_pixel(sum, above + i + step, plane, up * right[i], result, source);
    add_pixel(sum, here + i - step, plane, level * left[i], result, source);
    add_pixel(sum, here + i, plane, level * middle[i], result, source);
    add_pixel(sum, here + i + step, plane, level * right[i], result, source);
    add_pixel(sum, below + i - step, plane, down * left[i], result, source);
    add_pixel(sum, below + i, plane, down * middle[i], result, source);
    add_pixel(sum, below + i + step, plane, down * right[i], result, source);
    const float share = 1.0f / larger(sum.weight, 1e-9f);
    const float exact = smaller(1.0f, sum.exact * kRounding);
    const float* low = range + i;
    const float* high = low + 3 * width;
    out_r[i] = corrected(result.r, sum.dr * share, low[0], high[0], exact, source.r + sum.sr);
    out_g[i] = corrected(result.g, sum.dg * share, low[width], high[width], exact,
                         source.g + sum.sg);
    out_b[i] = corrected(result.b, sum.db * share, low[2 * width], high[2 * width], exact,
                         source.b + sum.sb);
  }
}
