// Kernels of the network engine, one signature each.
//
// Activations use blocks of 16 channels at every instruction set: a pixel of a block is 16 floats,
// 64-byte aligned, and the pixels of a row are contiguous. Unused channels of the last block are
// zeros.
//
// Each output has a fixed summation order, independent of the position of a pixel in its row and of
// a tile in its batch. Results are therefore the same bytes for every partition of a picture.
// Instruction sets may differ in order and in the rounding of multiply-adds; the tests allow for
// it.
#pragma once

#include <cstddef>

namespace waifu2x::engine {

inline constexpr int kBlock = 16;

// Winograd's minimal filtering F(4x4, 3x3), https://arxiv.org/abs/1509.09308: a tile of 4x4 outputs
// from 6x6 inputs takes 36 products per pair of channels. The interpolation points 0, 1/2, -1/2,
// 3/2, -3/2 and infinity have less than half the error of the usual 0, 1, -1, 2, -2 and infinity.
inline constexpr int kTile = 4;
inline constexpr int kTileIn = kTile + 2;
inline constexpr int kPositions = kTileIn * kTileIn;

// The end of a convolution: y = sum + bias; y = y < 0 ? y * slope : y; y *= gate; y += add.
struct Epilogue {
  const float* bias;   // 16 floats per block
  const float* slope;  // 16 floats per block: 1 for no activation, 0 for ReLU
  const float* gate;   // 16 floats per block; may be null
};

// A row of a direct convolution. A segment is a tap over an input block.
struct DirectRow {
  const float* const* taps;  // the input of each segment at the first pixel
  int segments;
  int period;           // input blocks; every period-th segment is the last block of its tap
  int last_depth;       // channels of the last input block, 1 to 16; other blocks have 16
  std::ptrdiff_t step;  // input floats per output pixel: 16 * stride

  const float* weights;  // (segment, depth, 16) for each output block
  std::ptrdiff_t weights_stride;
  int blocks;  // output blocks, at least 1
  Epilogue epilogue;
  const float* add;  // may be null
  std::ptrdiff_t add_stride;  // from a block to the next
  float* out;
  std::ptrdiff_t out_stride;  // from a block to the next
  std::ptrdiff_t out_step;    // from a pixel to the next, in out and add
  int pixels;
};

// The products m = w * v of a batch of tiles, at each position.
struct WinogradProduct {
  int tiles;
  int blocks_in;
  int last_depth;  // channels of the last input block
  const float* v;  // (position, block, tile, 16)
  std::ptrdiff_t v_position;
  const float* weights;  // (position, channel, 16) for each output block
  std::ptrdiff_t weights_stride;
  int blocks;  // output blocks
  float* m;    // (block, position, tile, 16)
  std::ptrdiff_t m_stride;
  std::ptrdiff_t m_position;
};

// Adjacent tiles of a row, for an output block.
struct WinogradOutput {
  const float* m;  // (position, tile, 16)
  std::ptrdiff_t m_position;
  Epilogue epilogue;
  const float* add[kTile];  // rows; add[0] is null without an addend
  float* out[kTile];
  int rows;     // valid rows, 1 to 4
  int columns;  // valid pixels of each row, at most 4 per tile
};

enum class Function { identity, sigmoid, silu, tanh };

// A function of n pixels of a block, with what may follow: out = function(x) * factor + add. factor
// and add may be null; out may equal x, factor or add. The functions are accurate to about 2 units
// in the last place; NaN stays NaN.
struct Pointwise {
  Function function;
  const float* x;
  const float* factor;
  const float* add;
  float* out;
  std::ptrdiff_t n;
};

struct Kernels {
  void (*direct_row)(const DirectRow&);

  // Transforms adjacent tiles of an input block. rows[i] is row i of the first tile; tile t starts
  // 4 * t pixels later. Reads 4 * tiles + 2 pixels of six rows, writes v[position][tile][16].
  void (*winograd_input)(const float* const rows[kTileIn], int tiles, float* v,
                         std::ptrdiff_t v_position);
  void (*winograd_product)(const WinogradProduct&);
  int product_tiles;  // fastest if the tiles of a product are a multiple of this
  void (*winograd_output)(const WinogradOutput&);

  // n pixels of a block; out may equal x.
  void (*product)(const float* x, const float* y, float* out, std::ptrdiff_t n);
  void (*multiply)(const float* x, const float* gate, float* out, std::ptrdiff_t n);
  void (*add)(const float* x, const float* y, float* out, std::ptrdiff_t n);
  // x * scale + offset with 16 of each.
  void (*affine)(const float* x, const float* scale, const float* offset, float* out,
                 std::ptrdiff_t n);
  void (*activate)(const float* x, const float* slope, float* out, std::ptrdiff_t n);
  void (*pointwise)(const Pointwise&);
  // out = the sum of weights[i] * rows[i] over `taps` rows, in this order.
  void (*weighted)(const float* const* rows, const float* weights, int taps, float* out,
                   std::ptrdiff_t n);
  // sums[c] += the sum of channel c, in double.
  void (*sum)(const float* x, double* sums, std::ptrdiff_t n);

  // n rounds of independent multiply-adds in registers; returns the number of operations. Measures
  // the peak throughput of the CPU.
  double (*fma_loop)(std::ptrdiff_t n);
};

}  // namespace waifu2x::engine
