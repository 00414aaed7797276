// The row kernels of color_fix.h. Each instruction set includes this file inside its target switch
// and an unnamed namespace, and the compiler vectorizes the loops. Every operation is rounded in
// the order written, so that all return the same bits. Uses no standard header: see x86/avx2.h.

// Differences of color at which a weight is 1/4: the root of the sum of the squares of three
// channels.
constexpr float kSourceLikeness = 10.0f / 255.0f;
constexpr float kResultLikeness = 10.0f / 255.0f;
// Total weight of pixels, and of the interpolation, from which a mean counts fully.
constexpr float kEnoughPixels = 3.0f;
constexpr float kEnoughNear = 0.1f;
// Rounding of the interpolation's weights, which add up to 1.
constexpr float kRounding = 1.00001f;

WAIFU2X_INLINE float smaller(float a, float b) { return a < b ? a : b; }
WAIFU2X_INLINE float larger(float a, float b) { return a > b ? a : b; }

// 1 for equal colors, falling with the square of the squared difference.
WAIFU2X_INLINE float likeness(float weight, float r, float g, float b, float scale) {
  const float falling = 1.0f + (r * r + g * g + b * b) * scale;
  return weight / (falling * falling);
}

// Adds the drift of a row, seen from the pixels of the row `r`, `g`, `b`.
void add_drifts(const float* r, const float* g, const float* b, const DriftRow& row,
                float* __restrict weights, float* __restrict dr, float* __restrict dg,
                float* __restrict db, std::size_t n) {
  constexpr float kScale = 1.0f / (kSourceLikeness * kSourceLikeness);
  for (std::size_t i = 0; i < n; ++i) {
    const float weight = likeness(row.flat[i], r[i] - row.color[0][i], g[i] - row.color[1][i],
                                  b[i] - row.color[2][i], kScale);
    weights[i] += weight;
    dr[i] += weight * row.drift[0][i];
    dg[i] += weight * row.drift[1][i];
    db[i] += weight * row.drift[2][i];
  }
}

void average_drift(const DriftRow* rows, std::size_t count, std::size_t own, float* const* mean,
                   float* __restrict confidence, std::size_t n) {
  float* __restrict dr = mean[0];
  float* __restrict dg = mean[1];
  float* __restrict db = mean[2];
  for (std::size_t i = 0; i < n; ++i) confidence[i] = dr[i] = dg[i] = db[i] = 0.0f;
  const DriftRow& center = rows[own];
  for (std::size_t y = 0; y < count; ++y) {
    for (int x = -kColorFixReach; x <= kColorFixReach; ++x) {
      DriftRow row = rows[y];
      for (int c = 0; c < 3; ++c) {
        row.color[c] += x;
        row.drift[c] += x;
      }
      row.flat += x;
      add_drifts(center.color[0], center.color[1], center.color[2], row, confidence, dr, dg, db, n);
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    const float inverse = 1.0f / larger(confidence[i], 1e-6f);
    dr[i] *= inverse;
    dg[i] *= inverse;
    db[i] *= inverse;
    confidence[i] = smaller(1.0f, confidence[i] * (1.0f / kEnoughPixels));
  }
}

// What the nine source pixels around a pixel of the result add up to.
struct Around {
  float weight = 0.0f, near = 0.0f, exact = 0.0f;
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
  const float near = space * pixel[6 * plane];
  const float exact = space * pixel[7 * plane];
  const float weight = likeness(near, result.r - (r - dr), result.g - (g - dg),
                                result.b - (b - db), kScale);
  sum.near += near;
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
    const float share = smaller(1.0f, sum.near * (1.0f / kEnoughNear)) / larger(sum.weight, 1e-9f);
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
