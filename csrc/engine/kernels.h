// The arithmetic of the network engine, one signature per kernel.
//
// Activations lie in blocks of 16 channels at every instruction set: a pixel of a block is 16 floats,
// 64-byte aligned, and neighboring pixels of a row follow each other. Channels that a value does not
// have are zeros in its last block.
//
// Sums run in one fixed order per output, whatever the position of a pixel in a row or a tile in a
// batch, so the same bytes come out however a picture is cut. Between instruction sets the order or
// the rounding of a multiply-add may differ: the checks allow for that.
#pragma once

#include <cstddef>

namespace waifu2x::engine {

inline constexpr int kBlock = 16;

// Winograd's minimal filtering F(4x4, 3x3), https://arxiv.org/abs/1509.09308: tiles of 4x4 outputs from
// 6x6 inputs, 36 products for each pair of channels. The interpolation points are 0, 1/2, -1/2, 3/2,
// -3/2 and infinity: less than half the error of the usual 0, 1, -1, 2, -2 and infinity.
inline constexpr int kTile = 4;
inline constexpr int kTileIn = kTile + 2;
inline constexpr int kPositions = kTileIn * kTileIn;

// What ends a convolution, for each of its blocks: y = sum + bias; y < 0 ? y * slope : y; y += add.
struct Epilogue {
  const float* bias;   // 16 floats a block
  const float* slope;  // 16 floats a block: 1 for none, 0 for ReLU
};

// One row of a convolution computed directly.
struct DirectRow {
  // A segment is one tap over one block of inputs. Where it starts for the first pixel:
  const float* const* taps;
  int segments;
  int period;           // blocks of inputs: every period-th segment has ...
  int last_depth;       // ... this many channels (1 to 16), the others have 16
  std::ptrdiff_t step;  // floats from one output pixel's input to the next one's: 16 * stride

  const float* weights;  // (segment, depth, 16) for a block of outputs
  std::ptrdiff_t weights_stride;
  int blocks;  // blocks of outputs, at least 1
  Epilogue epilogue;
  const float* add;  // or null; strides as those of out
  std::ptrdiff_t add_stride;
  float* out;
  std::ptrdiff_t out_stride;  // from a block to the next
  std::ptrdiff_t out_step;    // from a pixel to the next, of out and add alike
  int pixels;
};

// The products of a batch of tiles, position by position: m = w * v.
struct WinogradProduct {
  int tiles;
  int blocks_in;
  int last_depth;  // channels in the last input block
  const float* v;  // (position, block, tile, 16)
  std::ptrdiff_t v_position;
  const float* weights;  // (position, channel, 16) for a block of outputs
  std::ptrdiff_t weights_stride;
  int blocks;  // blocks of outputs
  float* m;    // (block, position, tile, 16)
  std::ptrdiff_t m_stride;
  std::ptrdiff_t m_position;
};

// Neighboring tiles of one row of tiles, one block of outputs.
struct WinogradOutput {
  const float* m;  // (position, tile, 16)
  std::ptrdiff_t m_position;
  Epilogue epilogue;
  const float* add[kTile];  // rows; add[0] null for none
  float* out[kTile];
  int rows;     // valid rows, 1 to 4
  int columns;  // valid pixels of each row, at most 4 a tile
};

struct Kernels {
  void (*direct_row)(const DirectRow&);

  // Transforms neighboring tiles of one block: rows[i] is row i of the first; tile t of it starts
  // 4 * t pixels on. Reads 4 * tiles + 2 pixels of six rows, writes v[position][tile][16].
  void (*winograd_input)(const float* const rows[kTileIn], int tiles, float* v,
                         std::ptrdiff_t v_position);
  void (*winograd_product)(const WinogradProduct&);
  void (*winograd_output)(const WinogradOutput&);

  // n pixels of one block each; out may be x.
  void (*multiply)(const float* x, const float* gate, float* out, std::ptrdiff_t n);
  void (*add)(const float* x, const float* y, float* out, std::ptrdiff_t n);
  void (*affine)(const float* x, float scale, float offset, float* out, std::ptrdiff_t n);
  void (*activate)(const float* x, const float* slope, float* out, std::ptrdiff_t n);
  // sums[c] += the sum of channel c, in double.
  void (*sum)(const float* x, double* sums, std::ptrdiff_t n);

  // n rounds of independent multiply-adds in registers and nothing else; returns how many operations
  // that were. For measuring what the processor could do at best.
  double (*chains)(std::ptrdiff_t n);
};

}  // namespace waifu2x::engine
