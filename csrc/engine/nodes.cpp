#include "engine/nodes.h"

#include <algorithm>
#include <cstring>

namespace waifu2x::engine {
namespace {

// A cache line of padding between positions avoids conflicts in the cache sets.
constexpr std::ptrdiff_t kPositionPad = kBlock;
// Tiles of a batch. Fewer would leave registers unused; more gain little.
constexpr int kMinTiles = 12;
constexpr int kMaxTiles = 84;
// Columns of a part, unless it is a part of the rows: fewer would differ too much in number.
constexpr int kLeastColumns = 16;
// Output blocks whose products are buffered before their output transform.
constexpr int kProductBlocks = 2;

std::ptrdiff_t v_position(const Conv& conv, int tiles) {
  return static_cast<std::ptrdiff_t>(blocks_of(conv.depth)) * tiles * kBlock + kPositionPad;
}

std::ptrdiff_t m_position(int tiles) {
  return static_cast<std::ptrdiff_t>(tiles) * kBlock + kPositionPad;
}

// Pixels of a direct convolution between its sums and what follows them: 7 * 6 and 3 * 14, so that
// all registers are used, and few enough for the L1 cache.
constexpr int kTailPixels = 42;

int last_depth(int channels) { return channels - (blocks_of(channels) - 1) * kBlock; }

// The x with lo <= factor * x + phase - crop < hi: the samples of a phase that a shuffle writes to
// a range of columns.
Range phase_range(Range columns, int factor, int phase, int crop) {
  const auto ceil_divide = [&](int at) { return -floor_divide(-(at + crop - phase), factor); };
  return {ceil_divide(columns.lo), ceil_divide(columns.hi)};
}

// Applies what follows the activation of a convolution to n pixels of a block at (y, x).
void apply_tail(const NodeRun& run, int y, int block, int x, int n, const float* from) {
  const auto read = [&](Ref ref) -> const float* {
    if (ref.value < 0) return nullptr;
    return run.values[index(ref.value)].at(y + ref.offset, block, x + ref.offset);
  };
  run.kernels.pointwise({run.node.conv.function, from, read(run.node.gated_by),
                         read(run.node.addend), run.values[index(run.node.value)].at(y, block, x),
                         n});
}

// The end of a convolution, from an output block on.
Epilogue epilogue(const NodeRun& run, int block) {
  const Conv& conv = run.node.conv;
  return {conv.bias.data() + block * kBlock, conv.slope.data() + block * kBlock,
          run.gate == nullptr ? nullptr : run.gate + block * kBlock};
}

// --- Winograd ------------------------------------------------------------------------------------

// The tiles of a band of rows, in row-major order.
struct Tiles {
  int first_row, first_column, across, count;

  // Calls call(tile, count, y, x) for each run of adjacent tiles in [begin, end); y and x are the
  // output coordinates of the first tile.
  template <class Call>
  void runs(int begin, int end, Call call) const {
    for (int tile = begin; tile < end;) {
      const int row = tile / across, column = tile % across;
      const int adjacent = std::min(across - column, end - tile);
      call(tile, adjacent, (first_row + row) * kTile, (first_column + column) * kTile);
      tile += adjacent;
    }
  }
};

void winograd_tiles(const NodeRun& run, const Tiles& tiles, int begin, int end) {
  const Conv& conv = run.node.conv;
  const Kernels& kernels = run.kernels;
  const Ref addend = run.node.addend;
  const Rows& out = run.values[index(run.node.value)];
  const int count = end - begin, blocks_in = blocks_of(conv.depth);

  WinogradProduct product = {};
  product.tiles = count;
  product.blocks_in = blocks_in;
  product.last_depth = last_depth(conv.depth);
  product.v_position = v_position(conv, count);
  product.weights_stride = conv.weights_stride;
  product.m_position = m_position(count);
  product.m_stride = kPositions * product.m_position;
  float* v = run.scratch.memory;
  float* m = v + kPositions * product.v_position;
  product.v = v;
  product.m = m;

  int joined = 0;  // blocks of the sources before
  for (std::size_t s = 0; s < run.node.sources.size(); ++s) {
    const Ref source = run.node.sources[s];
    const Rows& in = run.values[index(source.value)];
    const int shift = source.offset - conv.padding, blocks = conv.source_blocks[s];
    for (int block = 0; block < blocks; ++block) {
      tiles.runs(begin, end, [&](int tile, int n, int y, int x) {
        const float* rows[kTileIn];
        for (int i = 0; i < kTileIn; ++i) rows[i] = in.read(y + shift + i, block, x + shift);
        const std::ptrdiff_t at =
            static_cast<std::ptrdiff_t>(joined + block) * count + (tile - begin);
        kernels.winograd_input(rows, n, v + at * kBlock, product.v_position);
      });
    }
    joined += blocks;
  }
  for (int block = 0; block < conv.blocks; block += kProductBlocks) {
    product.blocks = std::min(kProductBlocks, conv.blocks - block);
    product.weights = conv.weights.data() + block * conv.weights_stride;
    kernels.winograd_product(product);
    for (int b = 0; b < product.blocks; ++b) {
      WinogradOutput output = {};
      output.m_position = product.m_position;
      output.epilogue = epilogue(run, block + b);
      tiles.runs(begin, end, [&](int tile, int n, int y, int x) {
        output.m = m + b * product.m_stride + (tile - begin) * kBlock;
        output.rows = std::min(kTile, run.rows.hi - y);
        output.columns = std::min(n * kTile, run.columns.hi - x);
        for (int i = 0; i < output.rows; ++i) {
          output.out[i] = out.at(y + i, block + b, x);
          if (addend.value >= 0 && !conv.has_tail()) {
            const Rows& added = run.values[index(addend.value)];
            output.add[i] = added.at(y + i + addend.offset, block + b, x + addend.offset);
          }
        }
        kernels.winograd_output(output);
        if (!conv.has_tail()) return;
        for (int i = 0; i < output.rows; ++i) {
          apply_tail(run, y + i, block + b, x, output.columns, output.out[i]);
        }
      });
    }
  }
}

// The tiles of a part, and the range of them that it computes.
struct PartOfTiles {
  Tiles tiles;
  Range own;
};

// A part of the columns stays in the L2 cache of a core from step to step. If the columns cannot be
// divided as evenly as the tiles in their order, the part is a range of tiles.
PartOfTiles part_of_tiles(const NodeRun& run) {
  const int group = run.kernels.product_tiles;
  const auto groups = [&](int tiles) { return (tiles + group - 1) / group; };
  Tiles tiles;
  tiles.first_row = run.rows.lo / kTile;
  tiles.first_column = run.columns.lo / kTile;
  tiles.across = (run.columns.hi + kTile - 1) / kTile - tiles.first_column;
  const int down = (run.rows.hi + kTile - 1) / kTile - tiles.first_row;
  tiles.count = tiles.across * down;

  const int widest = (tiles.across + run.part.count - 1) / run.part.count;
  const int most = (groups(tiles.count) + run.part.count - 1) / run.part.count;
  if (groups(widest * down) > most) {
    const Range own = split({0, groups(tiles.count)}, run.part);
    return {tiles, {own.lo * group, std::min(own.hi * group, tiles.count)}};
  }
  const Range columns = split({0, tiles.across}, run.part);
  tiles.first_column += columns.lo;
  tiles.across = columns.size();
  tiles.count = tiles.across * down;
  return {tiles, {0, tiles.count}};
}

void run_winograd(const NodeRun& run) {
  const auto [tiles, own] = part_of_tiles(run);
  if (own.empty()) return;
  // Equal batches, but for whole groups of tiles in registers.
  const int batches = (own.size() + run.scratch.tiles - 1) / run.scratch.tiles;
  const int size = round_up((own.size() + batches - 1) / batches, run.kernels.product_tiles);
  for (int begin = own.lo; begin < own.hi; begin += size) {
    winograd_tiles(run, tiles, begin, std::min(begin + size, own.hi));
  }
}

// --- direct --------------------------------------------------------------------------------------

// Sets up a row of the convolution before the shuffle, except for its output.
class DirectConvolution {
 public:
  explicit DirectConvolution(const NodeRun& run) : run_(run), conv_(run.node.conv) {
    const int blocks_in = blocks_of(conv_.depth);
    taps_.resize(static_cast<std::size_t>(conv_.kernel * conv_.kernel * blocks_in));
    row_.taps = taps_.data();
    row_.segments = static_cast<int>(taps_.size());
    row_.period = blocks_in;
    row_.last_depth = last_depth(conv_.depth);
    row_.step = static_cast<std::ptrdiff_t>(conv_.stride) * kBlock;
    row_.weights_stride = conv_.weights_stride;
  }

  // Points the taps at the inputs of outputs x, x + 1, ... of row y.
  void set_input(int y, int x) {
    std::size_t i = 0;
    for (int dy = 0; dy < conv_.kernel; ++dy) {
      for (int dx = 0; dx < conv_.kernel; ++dx) {
        for (std::size_t s = 0; s < run_.node.sources.size(); ++s) {
          const Ref source = run_.node.sources[s];
          const Rows& in = run_.values[index(source.value)];
          const int shift = source.offset - conv_.padding, blocks = conv_.source_blocks[s];
          for (int block = 0; block < blocks; ++block) {
            taps_[i++] =
                in.read(y * conv_.stride + shift + dy, block, x * conv_.stride + shift + dx);
          }
        }
      }
    }
  }

  void set_blocks(int first, int count) {
    row_.blocks = count;
    row_.weights = conv_.weights.data() + first * conv_.weights_stride;
    row_.epilogue = epilogue(run_, first);
  }

  DirectRow& row() { return row_; }

 private:
  const NodeRun& run_;
  const Conv& conv_;
  std::vector<const float*> taps_;
  DirectRow row_ = {};
};

// Sets the output and the addend of a row; consecutive outputs are `step` pixels apart.
void set_output(DirectRow& row, const NodeRun& run, int y, int x, int step) {
  const Rows& out = run.values[index(run.node.value)];
  const Ref addend = run.node.addend;
  row.out = out.at(y, 0, x);
  row.out_stride = static_cast<std::ptrdiff_t>(out.width) * kBlock;
  row.out_step = static_cast<std::ptrdiff_t>(step) * kBlock;
  row.add = nullptr;
  if (addend.value >= 0) {
    const Rows& added = run.values[index(addend.value)];
    row.add = added.at(y + addend.offset, 0, x + addend.offset);
    row.add_stride = static_cast<std::ptrdiff_t>(added.width) * kBlock;
  }
}

void run_direct(const NodeRun& run) {
  const Conv& conv = run.node.conv;
  DirectConvolution convolution(run);
  convolution.set_blocks(0, conv.blocks);
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    convolution.set_input(y + conv.crop, run.columns.lo + conv.crop);
    set_output(convolution.row(), run, y, run.columns.lo, 1);
    convolution.row().pixels = run.columns.size();
    run.kernels.direct_row(convolution.row());
  }
}

// The sums of a few pixels stay in the L1 cache until the tail reads them.
void run_direct_with_tail(const NodeRun& run) {
  const Conv& conv = run.node.conv;
  DirectConvolution convolution(run);
  convolution.set_blocks(0, conv.blocks);
  DirectRow& row = convolution.row();
  row.out = run.scratch.memory;
  row.out_stride = kTailPixels * kBlock;
  row.out_step = kBlock;
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    for (int x = run.columns.lo; x < run.columns.hi; x += kTailPixels) {
      convolution.set_input(y, x);
      row.pixels = std::min(kTailPixels, run.columns.hi - x);
      run.kernels.direct_row(row);
      for (int block = 0; block < conv.blocks; ++block) {
        apply_tail(run, y, block, x, row.pixels, row.out + block * row.out_stride);
      }
    }
  }
}

// Each phase of the shuffle has its own output blocks and is written directly to its pixels.
void run_shuffled(const NodeRun& run) {
  const Conv& conv = run.node.conv;
  const int factor = conv.factor, blocks = conv.blocks / (factor * factor);
  DirectConvolution convolution(run);
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    const int row = floor_divide(y + conv.crop, factor), phase_y = y + conv.crop - row * factor;
    for (int phase_x = 0; phase_x < factor; ++phase_x) {
      const auto [first, end] = phase_range(run.columns, factor, phase_x, conv.crop);
      if (end <= first) continue;
      convolution.set_input(row, first);
      convolution.set_blocks((phase_y * factor + phase_x) * blocks, blocks);
      set_output(convolution.row(), run, y, first * factor + phase_x - conv.crop, factor);
      convolution.row().pixels = end - first;
      run.kernels.direct_row(convolution.row());
    }
  }
}

// --- other operations ----------------------------------------------------------------------------

const float* source_at(const NodeRun& run, std::size_t i, int y, int block, int x) {
  const Ref source = run.node.sources[i];
  return run.values[index(source.value)].at(y + source.offset, block,
                                                               x + source.offset);
}

template <class Call>
void for_rows(const NodeRun& run, int blocks, Call call) {
  const Rows& out = run.values[index(run.node.value)];
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    for (int block = 0; block < blocks; ++block) {
      call(y, block, out.at(y, block, run.columns.lo));
    }
  }
}

int blocks_of_rows(const Rows& rows) {
  return static_cast<int>(rows.row_stride / (static_cast<std::ptrdiff_t>(rows.width) * kBlock));
}

void run_concat(const NodeRun& run, const std::vector<int>& channels) {
  const Rows& out = run.values[index(run.node.value)];
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    int first = 0;
    for (std::size_t i = 0; i < run.node.sources.size(); ++i) {
      for (int c = 0; c < channels[i];) {
        // The channels that are contiguous in both the source and the result.
        const int to = first + c;
        const int count =
            std::min({channels[i] - c, kBlock - c % kBlock, kBlock - to % kBlock});
        const float* from = source_at(run, i, y, c / kBlock, run.columns.lo) + c % kBlock;
        float* target = out.at(y, to / kBlock, run.columns.lo) + to % kBlock;
        for (int x = 0; x < run.columns.size(); ++x) {
          std::memcpy(target + x * kBlock, from + x * kBlock,
                      static_cast<std::size_t>(count) * sizeof(float));
        }
        c += count;
      }
      first += channels[i];
    }
  }
}

void run_upsample(const NodeRun& run, int blocks) {
  const int factor = run.node.factor;
  for_rows(run, blocks, [&](int y, int block, float* out) {
    const float* from = source_at(run, 0, y / factor, block, 0);
    for (int x = run.columns.lo; x < run.columns.hi; ++x, out += kBlock) {
      std::memcpy(out, from + static_cast<std::ptrdiff_t>(x / factor) * kBlock,
                  kBlock * sizeof(float));
    }
  });
}

void run_unshuffle(const NodeRun& run, int channels) {
  const Rows& out = run.values[index(run.node.value)];
  const int factor = run.node.factor, n = run.columns.size();
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    for (int c = 0; c < channels; ++c) {
      for (int phase = 0; phase < factor * factor; ++phase) {
        const int lane = c * factor * factor + phase;
        const float* from = source_at(run, 0, y * factor + phase / factor, c / kBlock,
                                      run.columns.lo * factor + phase % factor) +
                            c % kBlock;
        float* to = out.at(y, lane / kBlock, run.columns.lo) + lane % kBlock;
        for (int x = 0; x < n; ++x) to[x * kBlock] = from[x * factor * kBlock];
      }
    }
  }
}

// Resamples down and then across. Rows beyond the edge are clamped, and so are columns.
void run_resize(const NodeRun& run, int blocks) {
  const Node& node = run.node;
  const Rows& in = run.values[index(node.sources[0].value)];
  const Rows& out = run.values[index(node.value)];
  const int taps = 2 * node.support;
  const int last_row = in.height - 1, last_column = run.source_width - 1;
  const int lo = std::max(0, node.first_tap(run.columns.lo));
  const int hi = std::min(last_column + 1, node.first_tap(run.columns.hi - 1) + taps);
  float* const column = run.scratch.memory;
  constexpr int kMaxTaps = 4;
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    float weights[kMaxTaps];
    node.tap_weights(y, weights);
    for (int block = 0; block < blocks; ++block) {
      const float* from[kMaxTaps];
      for (int tap = 0; tap < taps; ++tap) {
        from[tap] = in.at(std::clamp(node.first_tap(y) + tap, 0, last_row), block, lo);
      }
      run.kernels.weighted(from, weights, taps, column, hi - lo);
      for (int x = run.columns.lo; x < run.columns.hi; ++x) {
        float across[kMaxTaps];
        node.tap_weights(x, across);
        for (int tap = 0; tap < taps; ++tap) {
          const int at = std::clamp(node.first_tap(x) + tap, 0, last_column) - lo;
          from[tap] = column + static_cast<std::ptrdiff_t>(at) * kBlock;
        }
        run.kernels.weighted(from, across, taps, out.at(y, block, x), 1);
      }
    }
  }
}

// Moves n pixels of a phase to every step-th pixel of `to`. The blocks of `to` are `width` pixels
// apart. added: may be null; advances by `added_step` pixels; has one block.
void shuffle_phase(const std::vector<const float*>& from, int n, float* to, int step, int width,
                   const float* added, int added_step) {
  const std::ptrdiff_t to_step = std::ptrdiff_t{step} * kBlock;
  const std::ptrdiff_t next = std::ptrdiff_t{added_step} * kBlock;
  if (from.size() == 3 && added != nullptr) {  // the result of most networks: one pass
    const float *red = from[0], *green = from[1], *blue = from[2];
    for (int x = 0; x < n; ++x, to += to_step, added += next) {
      const std::ptrdiff_t read = std::ptrdiff_t{x} * kBlock;
      const float r = red[read] + added[0], g = green[read] + added[1], b = blue[read] + added[2];
      to[0] = r;
      to[1] = g;
      to[2] = b;
    }
    return;
  }
  for (std::size_t c = 0; c < from.size(); ++c) {
    const float* read = from[c];
    float* write = to + static_cast<std::ptrdiff_t>(c / kBlock) * width * kBlock + c % kBlock;
    for (int x = 0; x < n; ++x, read += kBlock, write += to_step) {
      *write = added == nullptr ? *read : *read + added[x * next + static_cast<std::ptrdiff_t>(c)];
    }
  }
}

void run_shuffle(const NodeRun& run, int channels) {
  const Node& node = run.node;
  const Rows& out = run.values[index(node.value)];
  const Ref source = node.sources[0], addend = node.addend;
  const Rows& in = run.values[index(source.value)];
  const int factor = node.factor, crop = node.crop;
  std::vector<const float*> from(index(channels));
  for (int y = run.rows.lo; y < run.rows.hi; ++y) {
    const int row = (y + crop) / factor, phase_y = (y + crop) % factor;
    for (int phase_x = 0; phase_x < factor; ++phase_x) {
      const auto [first, end] = phase_range(run.columns, factor, phase_x, crop);
      if (end <= first) continue;
      for (int c = 0; c < channels; ++c) {
        const int lane = (c * factor + phase_y) * factor + phase_x;
        from[index(c)] =
            in.at(row + source.offset, lane / kBlock, first + source.offset) + lane % kBlock;
      }
      const int x0 = first * factor + phase_x - crop;
      const float* added = nullptr;
      if (addend.value >= 0) {
        added = run.values[index(addend.value)].at(y / node.enlarged + addend.offset, 0,
                                                   x0 / node.enlarged + addend.offset);
      }
      shuffle_phase(from, end - first, out.at(y, 0, x0), factor, out.width, added,
                    factor / node.enlarged);
    }
  }
}

}  // namespace

int tiles_for_cache(const Conv& conv, std::size_t bytes, int group) {
  const auto tile = static_cast<std::size_t>(kPositions * kBlock) * sizeof(float) *
                    static_cast<std::size_t>(blocks_of(conv.depth) + kProductBlocks);
  return round_up(std::clamp(static_cast<int>(bytes / tile), kMinTiles, kMaxTiles), group);
}

std::size_t scratch_floats(const Conv& conv, int tiles) {
  if (!conv.winograd) {
    return conv.has_tail() ? index(conv.blocks) * kTailPixels * kBlock : 0;
  }
  return static_cast<std::size_t>(kPositions *
                                  (v_position(conv, tiles) + kProductBlocks * m_position(tiles)));
}

Range split(Range range, Part part) {
  const auto boundary = [&](int i) {
    return range.lo +
           static_cast<int>(static_cast<long long>(range.size()) * i / part.count);
  };
  return {boundary(part.index), boundary(part.index + 1)};
}

void run_node(const NodeRun& whole) {
  const Node& node = whole.node;
  NodeRun run = whole;
  if (!node.conv.winograd) {
    const bool by_columns = run.columns.size() >= kLeastColumns * run.part.count;
    Range& range = by_columns ? run.columns : run.rows;
    range = split(range, run.part);
  }
  const Kernels& kernels = run.kernels;
  const int pixels = run.columns.size();
  if (run.rows.empty() || run.columns.empty()) return;
  const Rows& out = run.values[index(node.value)];
  const int blocks = blocks_of_rows(out);
  switch (node.kind) {
    case Kind::input:
      break;
    case Kind::conv:
      if (node.conv.winograd) {
        run_winograd(run);
      } else if (node.conv.has_tail()) {
        run_direct_with_tail(run);
      } else if (node.conv.factor == 1) {
        run_direct(run);
      } else {
        run_shuffled(run);
      }
      break;
    case Kind::add:
      for_rows(run, blocks, [&](int y, int block, float* to) {
        kernels.add(source_at(run, 0, y, block, run.columns.lo),
                    source_at(run, 1, y, block, run.columns.lo), to, pixels);
      });
      break;
    case Kind::product:
      for_rows(run, blocks, [&](int y, int block, float* to) {
        kernels.product(source_at(run, 0, y, block, run.columns.lo),
                        source_at(run, 1, y, block, run.columns.lo), to, pixels);
      });
      break;
    case Kind::multiply:
      for_rows(run, blocks, [&](int y, int block, float* to) {
        kernels.multiply(source_at(run, 0, y, block, run.columns.lo), run.gate + block * kBlock, to,
                         pixels);
      });
      break;
    case Kind::affine:
      for_rows(run, blocks, [&](int y, int block, float* to) {
        kernels.affine(source_at(run, 0, y, block, run.columns.lo),
                       node.scale.data() + block * kBlock, node.offset.data() + block * kBlock, to,
                       pixels);
      });
      break;
    case Kind::activate:
      for_rows(run, blocks, [&](int y, int block, float* to) {
        kernels.activate(source_at(run, 0, y, block, run.columns.lo),
                         node.slope.data() + block * kBlock, to, pixels);
      });
      break;
    case Kind::smooth:
      for_rows(run, blocks, [&](int y, int block, float* to) {
        kernels.pointwise({node.function, source_at(run, 0, y, block, run.columns.lo), nullptr,
                           nullptr, to, pixels});
      });
      break;
    case Kind::concat:
      run_concat(run, node.channels);
      break;
    case Kind::upsample:
      run_upsample(run, blocks);
      break;
    case Kind::shuffle:
      run_shuffle(run, node.channels[0]);
      break;
    case Kind::unshuffle:
      run_unshuffle(run, node.channels[0]);
      break;
    case Kind::resize:
      run_resize(run, blocks);
      break;
  }
}

}  // namespace waifu2x::engine
