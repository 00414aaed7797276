// Matches the low frequencies of a result to its source (docs/models.md, "Colors").
//
// A network may shift colors: realesrgan_animevideo returns 130 to 132 for flat 128. The drift of a
// source pixel is its color minus the mean of the result over the pixel. Where the source is not
// flat, a network differs from the source for good reasons, so:
//
// 1. The drift is averaged over the source pixels within kReach. A pixel counts by its flatness and
//    by its likeness in the source; areas of another color and edges count nearly nothing.
// 2. The averages are interpolated to the pixels of the result, each weighted by the likeness of
//    the result's pixel to the color that the network should have returned there.
// 3. The sum never leaves the range of the 3x3 source pixels around, unless the result did.
// 4. Where the source is flat within one pixel, its color replaces the result, with a smooth
//    transition of one source pixel.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace waifu2x {

// Source rows above and below a row that its result depends on.
constexpr std::int64_t kColorFixHalo = 5;

// Writes the corrected rows of the source rows from `first` on to `out`.
//
// source: a window of rows, with kColorFixHalo rows above and below those of `out`, or fewer at the
//     edge of the picture.
// result: the network's result for the same rows, `scale` times as large on both axes.
// out: scale * n rows for n source rows; may not overlap `result`.
//
// May throw std::bad_alloc.
template <class T>
void fix_colors(const Kernels& kernels, const Image<const T>& source,
                const Image<const float>& result, const Image<float>& out, std::int64_t scale,
                std::int64_t first);

}  // namespace waifu2x
