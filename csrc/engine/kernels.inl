// The kernels of kernels.h, generic over the vector type V. Each instruction set includes this file
// inside its target switch and an unnamed namespace, after defining
//
//   V::Register, V::kLanes                     floats per register; divides 16
//   V::load, store, broadcast, zero, add, sub, mul
//   V::fma(a, b, c) = a * b + c, V::fnma(a, b, c) = c - a * b
//   V::prelu(x, slope) = x < 0 ? x * slope : x
//   V::div
//   V::max(a, b), V::min(a, b)                 b if one of them is NaN
//   V::choose(a, b, x, y) = a < b ? x : y
//   V::exponent(x)                             the float whose bits are those of x, shifted left 23
//   V::prefetch, V::prefetch_near              into the L2 and the L1 cache
//   kProductTiles                              see Kernels::product_tiles
//   kPrefetchBlocks                            whether a product prefetches the next input block
//   kMaxPixels1, kMaxPixels2                   pixels whose sums fit the registers, for one and for
//                                              two output blocks; 0 if two blocks never fit
//
// Uses no standard header and no library template: see x86/avx2.h.

constexpr int kRegisters = kBlock / V::kLanes;  // per block

using Register = V::Register;

template <int Blocks>
constexpr int kMaxPixels = Blocks == 1 ? kMaxPixels1 : kMaxPixels2;

template <int N>
struct Count {
  static constexpr int value = N;
};

// Returns get(Count<n>{}), a function for n pixels; 1 <= n <= Max.
template <int Max, class Get>
auto select(int n, Get get) -> decltype(get(Count<1>{})) {
  switch (n) {
#define WAIFU2X_CASE(N)                                   \
  case N:                                                 \
    if constexpr (N <= Max) return get(Count<N>{});       \
    break;
    WAIFU2X_CASE(1) WAIFU2X_CASE(2) WAIFU2X_CASE(3) WAIFU2X_CASE(4) WAIFU2X_CASE(5)
    WAIFU2X_CASE(6) WAIFU2X_CASE(7) WAIFU2X_CASE(8) WAIFU2X_CASE(9) WAIFU2X_CASE(10)
    WAIFU2X_CASE(11) WAIFU2X_CASE(12) WAIFU2X_CASE(13) WAIFU2X_CASE(14)
#undef WAIFU2X_CASE
  }
  return nullptr;
}

// Accumulators for `Pixels` adjacent pixels and `Blocks` output blocks, in registers. Weights
// stream from memory and are prefetched.
template <int Pixels, int Blocks>
struct Sums {
  Register sums[Pixels][Blocks * kRegisters];

  WAIFU2X_INLINE void clear() {
    WAIFU2X_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      WAIFU2X_UNROLL
      for (int j = 0; j < Blocks * kRegisters; ++j) sums[p][j] = V::zero();
    }
  }

  // Adds the products of `depth` channels of a segment; returns the next weights. x is the input of
  // the first pixel; the inputs of consecutive pixels are `Step` floats apart, or `step` if Step is
  // 0.
  template <int Step>
  WAIFU2X_INLINE const float* accumulate(const float* x, std::ptrdiff_t step, int depth,
                                         const float* w, std::ptrdiff_t weights_stride) {
    for (int k = 0; k < depth; ++k, w += kBlock) {
      Register weights[Blocks * kRegisters];
      WAIFU2X_UNROLL
      for (int b = 0; b < Blocks; ++b) {
        V::prefetch(w + b * weights_stride + kPrefetch);
        WAIFU2X_UNROLL
        for (int j = 0; j < kRegisters; ++j) {
          weights[b * kRegisters + j] = V::load(w + b * weights_stride + j * V::kLanes);
        }
      }
      WAIFU2X_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        const Register input = V::broadcast(x + p * (Step != 0 ? Step : step) + k);
        WAIFU2X_UNROLL
        for (int j = 0; j < Blocks * kRegisters; ++j) {
          sums[p][j] = V::fma(input, weights[j], sums[p][j]);
        }
      }
    }
    return w;
  }

  static constexpr std::ptrdiff_t kPrefetch = 128 * kBlock;
};

// --- direct --------------------------------------------------------------------------------------

template <int Pixels, int Blocks, int Step>
void direct_pixels(const DirectRow& row, int first, int block) {
  // Prefetch what the epilogue reads and writes.
  WAIFU2X_UNROLL
  for (int b = 0; b < Blocks; ++b) {
    for (int p = 0; p < Pixels; ++p) {
      const std::ptrdiff_t at = (first + p) * row.out_step;
      V::prefetch_near(row.out + (block + b) * row.out_stride + at);
      if (row.add != nullptr) V::prefetch_near(row.add + (block + b) * row.add_stride + at);
    }
  }
  Sums<Pixels, Blocks> s;
  s.clear();
  const float* w = row.weights + block * row.weights_stride;
  const std::ptrdiff_t offset = first * (Step != 0 ? Step : row.step);
  for (int i = 0, in_block = 0; i < row.segments; ++i) {
    const bool last = ++in_block == row.period;
    if (last) in_block = 0;
    w = s.template accumulate<Step>(row.taps[i] + offset, row.step,
                                    last ? row.last_depth : kBlock, w, row.weights_stride);
  }
  WAIFU2X_UNROLL
  for (int b = 0; b < Blocks; ++b) {
    const std::ptrdiff_t at = (block + b) * row.out_stride + first * row.out_step;
    const float* gate =
        row.epilogue.gate == nullptr ? nullptr : row.epilogue.gate + (block + b) * kBlock;
    const float* add = row.add == nullptr
                           ? nullptr
                           : row.add + (block + b) * row.add_stride + first * row.out_step;
    WAIFU2X_UNROLL
    for (int j = 0; j < kRegisters; ++j) {
      const std::ptrdiff_t lane = j * V::kLanes;
      const Register bias = V::load(row.epilogue.bias + (block + b) * kBlock + lane);
      const Register slope = V::load(row.epilogue.slope + (block + b) * kBlock + lane);
      WAIFU2X_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        Register y = V::prelu(V::add(s.sums[p][b * kRegisters + j], bias), slope);
        if (gate != nullptr) y = V::mul(y, V::load(gate + lane));
        if (add != nullptr) y = V::add(y, V::load(add + p * row.out_step + lane));
        V::store(row.out + at + p * row.out_step + lane, y);
      }
    }
  }
}

using DirectPixels = void (*)(const DirectRow&, int, int);

template <int Blocks>
DirectPixels direct_for(int pixels, std::ptrdiff_t step) {
  return select<kMaxPixels<Blocks>>(pixels, [step](auto n) -> DirectPixels {
    constexpr int kPixels = decltype(n)::value;
    if (step == kBlock) return direct_pixels<kPixels, Blocks, kBlock>;
    if (step == 2 * kBlock) return direct_pixels<kPixels, Blocks, 2 * kBlock>;
    return direct_pixels<kPixels, Blocks, 0>;
  });
}

// Splits n pixels into equal parts of at most `most`: a short remainder would leave registers
// unused.
template <class Call>
WAIFU2X_INLINE void in_parts(int n, int most, Call call) {
  const int parts = (n + most - 1) / most;
  for (int i = 0, first = 0; i < parts; ++i) {
    const int size = n / parts + (i < n % parts ? 1 : 0);
    call(first, size);
    first += size;
  }
}

template <int Blocks>
void direct_blocks(const DirectRow& row, int block) {
  in_parts(row.pixels, kMaxPixels<Blocks>, [&](int first, int size) {
    direct_for<Blocks>(size, row.step)(row, first, block);
  });
}

void direct_row(const DirectRow& row) {
  int block = 0;
  if constexpr (kMaxPixels2 > 0) {
    for (; block + 2 <= row.blocks; block += 2) direct_blocks<2>(row, block);
  }
  for (; block < row.blocks; ++block) direct_blocks<1>(row, block);
}

// --- Winograd: products --------------------------------------------------------------------------

template <int Pixels, int Blocks>
void product_tiles(const WinogradProduct& p, const float* v, const float* w, float* m) {
  Sums<Pixels, Blocks> s;
  s.clear();
  const std::ptrdiff_t block_size = static_cast<std::ptrdiff_t>(p.tiles) * kBlock;
  for (int i = 0; i < p.blocks_in; ++i, v += block_size) {
    if constexpr (kPrefetchBlocks) {
      WAIFU2X_UNROLL
      for (int t = 0; t < Pixels; ++t) V::prefetch_near(v + block_size + t * kBlock);
    }
    const int depth = i + 1 < p.blocks_in ? kBlock : p.last_depth;
    w = s.template accumulate<kBlock>(v, kBlock, depth, w, p.weights_stride);
  }
  WAIFU2X_UNROLL
  for (int b = 0; b < Blocks; ++b) {
    WAIFU2X_UNROLL
    for (int t = 0; t < Pixels; ++t) {
      WAIFU2X_UNROLL
      for (int j = 0; j < kRegisters; ++j) {
        V::store(m + b * p.m_stride + t * kBlock + j * V::kLanes, s.sums[t][b * kRegisters + j]);
      }
    }
  }
}

using ProductTiles = void (*)(const WinogradProduct&, const float*, const float*, float*);

template <int Blocks>
ProductTiles product_for(int tiles) {
  return select<kMaxPixels<Blocks>>(
      tiles, [](auto n) -> ProductTiles { return product_tiles<decltype(n)::value, Blocks>; });
}

template <int Blocks>
void product_blocks(const WinogradProduct& p, int block) {
  const std::ptrdiff_t depth =
      static_cast<std::ptrdiff_t>(p.blocks_in - 1) * kBlock + p.last_depth;
  const float* weights = p.weights + block * p.weights_stride;
  float* m = p.m + block * p.m_stride;
  for (int position = 0; position < kPositions; ++position) {
    const float* v = p.v + position * p.v_position;
    const float* w = weights + position * depth * kBlock;
    float* to = m + position * p.m_position;
    in_parts(p.tiles, kMaxPixels<Blocks>, [&](int first, int size) {
      product_for<Blocks>(size)(p, v + first * kBlock, w, to + first * kBlock);
    });
  }
}

void winograd_product(const WinogradProduct& p) {
  int block = 0;
  if constexpr (kMaxPixels2 > 0) {
    for (; block + 2 <= p.blocks; block += 2) product_blocks<2>(p, block);
  }
  for (; block < p.blocks; ++block) product_blocks<1>(p, block);
}

// --- Winograd: transforms ------------------------------------------------------------------------

// y = B^T x for a column or row of inputs.
WAIFU2X_INLINE void input_step(const Register x[kTileIn], Register y[kTileIn]) {
  const Register quarter = V::broadcast1(0.25f), nine_quarters = V::broadcast1(2.25f);
  const Register half = V::broadcast1(0.5f), three_halves = V::broadcast1(1.5f);
  const Register inner = V::broadcast1(0.5625f), outer = V::broadcast1(2.5f);
  const Register even1 = V::fnma(nine_quarters, x[2], x[4]);
  const Register odd1 = V::fnma(nine_quarters, x[1], x[3]);
  const Register even2 = V::fnma(quarter, x[2], x[4]), odd2 = V::fnma(quarter, x[1], x[3]);
  y[0] = V::fma(inner, x[0], V::fnma(outer, x[2], x[4]));
  y[1] = V::fma(half, odd1, even1);
  y[2] = V::fnma(half, odd1, even1);
  y[3] = V::fma(three_halves, odd2, even2);
  y[4] = V::fnma(three_halves, odd2, even2);
  y[5] = V::fma(inner, x[1], V::fnma(outer, x[3], x[5]));
}

// y = A^T x for a column or row of products.
WAIFU2X_INLINE void output_step(const Register x[kTileIn], Register y[kTile]) {
  const Register two = V::broadcast1(2.0f), four = V::broadcast1(4.0f);
  const Register eight = V::broadcast1(8.0f), twelve = V::broadcast1(12.0f);
  const Register eighteen = V::broadcast1(18.0f), twenty_seven = V::broadcast1(27.0f);
  const Register sum1 = V::add(x[1], x[2]), difference1 = V::sub(x[1], x[2]);
  const Register sum2 = V::add(x[3], x[4]), difference2 = V::sub(x[3], x[4]);
  y[0] = V::fma(eight, V::add(sum1, sum2), x[0]);
  y[1] = V::fma(twelve, difference2, V::mul(four, difference1));
  y[2] = V::fma(eighteen, sum2, V::mul(two, sum1));
  y[3] = V::fma(twenty_seven, difference2, V::add(difference1, x[5]));
}

constexpr int kPrefetchTiles = 2;  // how far ahead

void winograd_input(const float* const rows[kTileIn], int tiles, float* v,
                    std::ptrdiff_t v_position) {
  for (int t = 0; t < tiles; ++t) {
    // Prefetch the tile after the next.
    for (int y = 0; y < kTileIn; ++y) {
      WAIFU2X_UNROLL
      for (int x = 0; x < kTile; ++x) {
        V::prefetch_near(rows[y] + ((t + kPrefetchTiles) * kTile + 2 + x) * kBlock);
      }
    }
    for (int part = 0; part < kRegisters; ++part) {
      const std::ptrdiff_t lane = part * V::kLanes;
      const std::ptrdiff_t from = t * (kTile * kBlock) + lane;
      Register columns[kTileIn][kTileIn];  // (column, row)
      WAIFU2X_UNROLL
      for (int x = 0; x < kTileIn; ++x) {
        Register column[kTileIn];
        WAIFU2X_UNROLL
        for (int y = 0; y < kTileIn; ++y) column[y] = V::load(rows[y] + from + x * kBlock);
        input_step(column, columns[x]);
      }
      float* to = v + t * kBlock + lane;
      WAIFU2X_UNROLL
      for (int y = 0; y < kTileIn; ++y) {
        Register row[kTileIn], result[kTileIn];
        WAIFU2X_UNROLL
        for (int x = 0; x < kTileIn; ++x) row[x] = columns[x][y];
        input_step(row, result);
        WAIFU2X_UNROLL
        for (int x = 0; x < kTileIn; ++x) V::store(to + (y * kTileIn + x) * v_position, result[x]);
      }
    }
  }
}

// The numbers of an epilogue, for the lanes of a register.
struct Lanes {
  Register bias, slope, gate;
};

// Writes the valid rows and columns of a tile.
template <bool Full, bool Gates, bool Adds>
WAIFU2X_INLINE void output_tile(const WinogradOutput& o, int t, int part, const Lanes& lanes) {
  const std::ptrdiff_t lane = part * V::kLanes;
  const float* m = o.m + t * kBlock + lane;
  if (part == 0) {
    for (int y = 0; y < (Full ? kTile : o.rows); ++y) {
      WAIFU2X_UNROLL
      for (int x = 0; x < kTile; ++x) {
        V::prefetch_near(o.out[y] + ((t + kPrefetchTiles) * kTile + x) * kBlock);
        if (Adds) V::prefetch_near(o.add[y] + ((t + kPrefetchTiles) * kTile + x) * kBlock);
      }
    }
  }
  Register columns[kTileIn][kTile];  // (column, row)
  WAIFU2X_UNROLL
  for (int x = 0; x < kTileIn; ++x) {
    Register column[kTileIn];
    WAIFU2X_UNROLL
    for (int y = 0; y < kTileIn; ++y) column[y] = V::load(m + (y * kTileIn + x) * o.m_position);
    output_step(column, columns[x]);
  }
  WAIFU2X_UNROLL
  for (int y = 0; y < kTile; ++y) {
    Register row[kTileIn], result[kTile];
    WAIFU2X_UNROLL
    for (int x = 0; x < kTileIn; ++x) row[x] = columns[x][y];
    output_step(row, result);
    if (!Full && y >= o.rows) break;
    WAIFU2X_UNROLL
    for (int x = 0; x < kTile; ++x) {
      if (!Full && t * kTile + x >= o.columns) break;
      const std::ptrdiff_t at = (t * kTile + x) * kBlock + lane;
      Register value = V::prelu(V::add(result[x], lanes.bias), lanes.slope);
      if (Gates) value = V::mul(value, lanes.gate);
      if (Adds) value = V::add(value, V::load(o.add[y] + at));
      V::store(o.out[y] + at, value);
    }
  }
}

template <bool Gates, bool Adds>
void output_tiles(const WinogradOutput& o) {
  const int full = o.rows == kTile ? o.columns / kTile : 0;
  const int tiles = (o.columns + kTile - 1) / kTile;
  Lanes lanes[kRegisters];
  WAIFU2X_UNROLL
  for (int part = 0; part < kRegisters; ++part) {
    lanes[part].bias = V::load(o.epilogue.bias + part * V::kLanes);
    lanes[part].slope = V::load(o.epilogue.slope + part * V::kLanes);
    lanes[part].gate = Gates ? V::load(o.epilogue.gate + part * V::kLanes) : V::zero();
  }
  // A tile is finished before the next: the products of all tiles exceed the L1 cache.
  for (int t = 0; t < full; ++t) {
    for (int part = 0; part < kRegisters; ++part) {
      output_tile<true, Gates, Adds>(o, t, part, lanes[part]);
    }
  }
  for (int t = full; t < tiles; ++t) {
    for (int part = 0; part < kRegisters; ++part) {
      output_tile<false, Gates, Adds>(o, t, part, lanes[part]);
    }
  }
}

void winograd_output(const WinogradOutput& o) {
  if (o.epilogue.gate != nullptr) {
    o.add[0] != nullptr ? output_tiles<true, true>(o) : output_tiles<true, false>(o);
  } else {
    o.add[0] != nullptr ? output_tiles<false, true>(o) : output_tiles<false, false>(o);
  }
}

// --- elementwise ---------------------------------------------------------------------------------

void multiply(const float* x, const float* gate, float* out, std::ptrdiff_t n) {
  for (int part = 0; part < kRegisters; ++part) {
    const std::ptrdiff_t lane = part * V::kLanes;
    const Register factor = V::load(gate + lane);
    for (std::ptrdiff_t i = lane; i < n * kBlock; i += kBlock) {
      V::store(out + i, V::mul(V::load(x + i), factor));
    }
  }
}

void add(const float* x, const float* y, float* out, std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < n * kBlock; i += V::kLanes) {
    V::store(out + i, V::add(V::load(x + i), V::load(y + i)));
  }
}

void product(const float* x, const float* y, float* out, std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < n * kBlock; i += V::kLanes) {
    V::store(out + i, V::mul(V::load(x + i), V::load(y + i)));
  }
}

void affine(const float* x, const float* scale, const float* offset, float* out,
            std::ptrdiff_t n) {
  for (int part = 0; part < kRegisters; ++part) {
    const std::ptrdiff_t lane = part * V::kLanes;
    const Register a = V::load(scale + lane), b = V::load(offset + lane);
    for (std::ptrdiff_t i = lane; i < n * kBlock; i += kBlock) {
      V::store(out + i, V::fma(V::load(x + i), a, b));
    }
  }
}

void weighted(const float* const* rows, const float* weights, int taps, float* out,
              std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < n * kBlock; i += V::kLanes) {
    Register sum = V::zero();
    for (int tap = 0; tap < taps; ++tap) {
      sum = V::fma(V::load(rows[tap] + i), V::broadcast1(weights[tap]), sum);
    }
    V::store(out + i, sum);
  }
}

// e^x for -87 <= x <= 88, beyond which x is clamped. x = n ln 2 + r with |r| <= ln 2 / 2; the
// polynomial for e^r is that of the Cephes library (expf).
WAIFU2X_INLINE Register exponential(Register x) {
  x = V::min(V::broadcast1(88.0f), V::max(V::broadcast1(-87.0f), x));
  // Adding 1.5 * 2^23 rounds to an integer, which the low bits of the sum hold.
  const Register magic = V::broadcast1(12582912.0f);
  const Register shifted = V::fma(x, V::broadcast1(1.44269504f), magic);
  const Register n = V::sub(shifted, magic);
  Register r = V::fnma(n, V::broadcast1(0.693359375f), x);
  r = V::fnma(n, V::broadcast1(-2.12194440e-4f), r);
  Register p = V::broadcast1(1.9875691500e-4f);
  p = V::fma(p, r, V::broadcast1(1.3981999507e-3f));
  p = V::fma(p, r, V::broadcast1(8.3334519073e-3f));
  p = V::fma(p, r, V::broadcast1(4.1665795894e-2f));
  p = V::fma(p, r, V::broadcast1(1.6666665459e-1f));
  p = V::fma(p, r, V::broadcast1(5.0000001201e-1f));
  p = V::add(V::fma(p, V::mul(r, r), r), V::broadcast1(1.0f));
  // The sum holds n + 127, the biased exponent, in its low nine bits.
  return V::mul(p, V::exponent(V::add(shifted, V::broadcast1(127.0f))));
}

WAIFU2X_INLINE Register sigmoid_of(Register x) {
  const Register one = V::broadcast1(1.0f);
  return V::div(one, V::add(one, exponential(V::sub(V::zero(), x))));
}

WAIFU2X_INLINE Register tanh_of(Register x) {
  const Register one = V::broadcast1(1.0f), two = V::broadcast1(2.0f), zero = V::zero();
  const Register size = V::choose(x, zero, V::sub(zero, x), x);
  Register far = V::sub(one, V::div(two, V::add(one, exponential(V::mul(two, size)))));
  far = V::choose(x, zero, V::sub(zero, far), far);
  // Near 0 that difference cancels; the polynomial is that of Cephes (tanhf).
  const Register z = V::mul(x, x);
  Register p = V::broadcast1(-5.70498872745e-3f);
  p = V::fma(p, z, V::broadcast1(2.06390887954e-2f));
  p = V::fma(p, z, V::broadcast1(-5.37397155531e-2f));
  p = V::fma(p, z, V::broadcast1(1.33314422036e-1f));
  p = V::fma(p, z, V::broadcast1(-3.33332819422e-1f));
  const Register near = V::fma(V::mul(p, z), x, x);
  return V::choose(z, V::broadcast1(0.390625f), near, far);
}

template <Function F>
WAIFU2X_INLINE Register function_of(Register x) {
  if constexpr (F == Function::sigmoid) return sigmoid_of(x);
  if constexpr (F == Function::silu) return V::mul(x, sigmoid_of(x));
  if constexpr (F == Function::tanh) return tanh_of(x);
  return x;
}

template <Function F, bool Multiplies, bool Adds>
void pointwise_pixels(const Pointwise& p) {
  for (std::ptrdiff_t i = 0; i < p.n * kBlock; i += V::kLanes) {
    Register y = function_of<F>(V::load(p.x + i));
    if constexpr (Multiplies) y = V::mul(y, V::load(p.factor + i));
    if constexpr (Adds) y = V::add(y, V::load(p.add + i));
    V::store(p.out + i, y);
  }
}

template <Function F>
void pointwise_function(const Pointwise& p) {
  if (p.factor != nullptr) {
    p.add != nullptr ? pointwise_pixels<F, true, true>(p) : pointwise_pixels<F, true, false>(p);
  } else {
    p.add != nullptr ? pointwise_pixels<F, false, true>(p) : pointwise_pixels<F, false, false>(p);
  }
}

void pointwise(const Pointwise& p) {
  switch (p.function) {
    case Function::identity:
      return pointwise_function<Function::identity>(p);
    case Function::sigmoid:
      return pointwise_function<Function::sigmoid>(p);
    case Function::silu:
      return pointwise_function<Function::silu>(p);
    case Function::tanh:
      return pointwise_function<Function::tanh>(p);
  }
}

void activate(const float* x, const float* slope, float* out, std::ptrdiff_t n) {
  for (int part = 0; part < kRegisters; ++part) {
    const std::ptrdiff_t lane = part * V::kLanes;
    const Register factor = V::load(slope + lane);
    for (std::ptrdiff_t i = lane; i < n * kBlock; i += kBlock) {
      V::store(out + i, V::prelu(V::load(x + i), factor));
    }
  }
}

void sum(const float* x, double* sums, std::ptrdiff_t n) {
  double s[kBlock] = {};
  for (std::ptrdiff_t i = 0; i < n; ++i, x += kBlock) {
    for (int c = 0; c < kBlock; ++c) s[c] += static_cast<double>(x[c]);
  }
  for (int c = 0; c < kBlock; ++c) sums[c] += s[c];
}

double fma_loop(std::ptrdiff_t n) {
  constexpr int kAccumulators = 12;  // exceeds FMA latency times units on every CPU
  Register sums[kAccumulators];
  WAIFU2X_UNROLL
  for (int i = 0; i < kAccumulators; ++i) sums[i] = V::broadcast1(static_cast<float>(i));
  const Register a = V::broadcast1(0.9999999f), b = V::broadcast1(1e-9f);
  for (std::ptrdiff_t round = 0; round < n; ++round) {
    WAIFU2X_UNROLL
    for (int i = 0; i < kAccumulators; ++i) sums[i] = V::fma(a, sums[i], b);
  }
  WAIFU2X_UNROLL
  for (int i = 1; i < kAccumulators; ++i) sums[0] = V::add(sums[0], sums[i]);
  float kept[V::kLanes];
  V::store(kept, sums[0]);
  const bool impossible = kept[0] < 0.0f;  // uses the result, so that the loop is not optimized out
  return impossible ? 0.0 : 2.0 * kAccumulators * V::kLanes * static_cast<double>(n);
}

constexpr Kernels kKernels = {direct_row,
                              winograd_input,
                              winograd_product,
                              kProductTiles,
                              winograd_output,
                              product,
                              multiply,
                              add,
                              affine,
                              activate,
                              pointwise,
                              weighted,
                              sum,
                              fma_loop};
