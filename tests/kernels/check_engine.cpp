// Compares the engine kernels of the scalar level with sums in double, and those of the other
// levels with both. A program without Python, for emulators and sanitizers: test_engine_kernels.py
// compiles and runs it, test_cross.py runs it under qemu.
//
//   g++ -std=c++17 -O1 -ffp-contract=off -Icsrc -fsanitize=address,undefined
//       tests/kernels/check_engine.cpp csrc/dispatch.cpp csrc/scalar/*.cpp csrc/x86/*.cpp
//       csrc/arm/*.cpp -o check_engine && ./check_engine [--every N] [--time] [seed]
//
// --every N checks every Nth case on average. --time measures the kernels instead: compile with -O3
// and without sanitizers.
//
// Exits with 0 if all agree, with 1 at the first difference, after printing the case and the seed,
// and with 2 if the CPU supports only the scalar level.
//
// Requirements for a kernel, in addition to correct values:
// - the bits of a pixel or a tile do not depend on the number of pixels, tiles and blocks computed
//   in the same call, nor on its position among them, and are the same in every run;
// - it writes its outputs and nothing else;
// - it reads only its inputs. Half the cases allocate buffers exactly, so that a sanitizer detects
//   accesses outside; the others surround buffers with NaNs. Gaps between pixels and rows and
//   unused channels of the last block are NaNs too. Prefetching any address is allowed.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "dispatch.h"

// Called by the sanitizer runtimes if linked. They abort after a report: see
// name_the_place_of_a_crash. Leaks are not checked, since the program exits without freeing memory.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1:handle_segv=2:detect_leaks=0";
}
extern "C" const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1"; }

namespace {

using waifu2x::Level;
using waifu2x::engine::DirectRow;
using waifu2x::engine::Function;
using waifu2x::engine::kBlock;
using waifu2x::engine::Kernels;
using waifu2x::engine::kPositions;
using waifu2x::engine::kTile;
using waifu2x::engine::kTileIn;
using waifu2x::engine::WinogradOutput;
using waifu2x::engine::WinogradProduct;

unsigned seed = 1;
unsigned every = 1;
std::mt19937 generator;
std::string level_name, kernel, place;

// The largest error of each kernel and level, relative to the tolerance.
std::map<std::pair<std::string, std::string>, double> worst;

void print_place(const char* what) {
  std::printf("%s, %s: %s: %s (seed %u, every %u)\n", level_name.c_str(), kernel.c_str(),
              place.c_str(), what, seed, every);
  std::fflush(stdout);
}

[[noreturn]] void fail(const std::string& what) {
  print_place(what.c_str());
  std::_Exit(1);  // buffers still alive need no more checks
}

// Prints the case if a kernel corrupts the heap or a sanitizer aborts the program.
void name_the_place_of_a_crash() {
  for (const int signal : {SIGABRT, SIGFPE, SIGILL, SIGSEGV}) {
    std::signal(signal, [](int) {
      print_place("crashed, damaged the heap or was stopped by a sanitizer");
      std::_Exit(1);
    });
  }
}

int random_int(int first, int last) {
  return first + static_cast<int>(generator() % static_cast<unsigned>(last - first + 1));
}

bool coin() { return random_int(0, 1) == 1; }

bool drawn() { return generator() % every == 0; }

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

// --- buffers -------------------------------------------------------------------------------------

constexpr std::ptrdiff_t kGuard = 48;
bool guarded = false;  // whether new buffers lie between guard zones or are allocated exactly

template <class T>
T canary();
template <>
float canary() {
  const std::uint32_t bits = 0x7fe5a5a5;  // a NaN that no arithmetic on other numbers makes
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <>
double canary() {
  const std::uint64_t bits = 0x7ffca5a5a5a5a5a5;
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
bool same_bits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

constexpr char kNotWritten[] = " is not written, or made from what should not have been read";

struct Free {
  void operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }
};

// A buffer filled with canaries, 64-byte aligned.
template <class T>
class Buffer {
 public:
  explicit Buffer(std::ptrdiff_t size) : size_(size), guard_(guarded ? kGuard : 0) {
    const std::size_t all = static_cast<std::size_t>(size_ + 2 * guard_);
    memory_.reset(static_cast<T*>(::operator new(all * sizeof(T), std::align_val_t{64})));
    std::uninitialized_fill_n(memory_.get(), all, canary<T>());
  }
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&&) noexcept = default;
  ~Buffer() {
    if (memory_ == nullptr) return;
    for (std::ptrdiff_t i = 0; i < guard_; ++i) {
      const bool before = same_bits(memory_[i], canary<T>());
      const bool after = same_bits(memory_[guard_ + size_ + i], canary<T>());
      if (!before || !after) {
        fail("wrote outside a buffer, " +
             (before ? std::to_string(i + 1) + ". element after it"
                     : std::to_string(guard_ - i) + ". element before it"));
      }
    }
  }

  T* get() const { return memory_.get() + guard_; }
  T& operator[](std::ptrdiff_t i) const { return get()[i]; }
  std::ptrdiff_t size() const { return size_; }

 private:
  std::ptrdiff_t size_;
  std::ptrdiff_t guard_;
  std::unique_ptr<T[], Free> memory_;
};

using Floats = Buffer<float>;

// --- data ----------------------------------------------------------------------------------------

// The distribution of activations, biases and addends; weights are ordinary. Products do not
// overflow: after an overflow, a fused multiply-add may legitimately differ.
enum class Data { kOrdinary, kPositive, kZeros, kDenormal, kHuge, kNotFinite };
constexpr int kDataKinds = 6;
const char* const kDataNames[] = {"ordinary", "positive", "zeros",
                                  "denormal", "huge",     "not finite"};

float draw(Data data) {
  const float unit = static_cast<float>(static_cast<std::int32_t>(generator())) * 0x1p-31f;
  switch (data) {
    case Data::kPositive:
      return std::fabs(unit);
    case Data::kZeros:
      return unit < 0.0f ? -0.0f : 0.0f;
    case Data::kDenormal:
      return unit * 0x1p-127f;
    case Data::kHuge:
      return unit * 1e30f;
    default:
      return unit;
  }
}

// Ordinary in half the cases.
Data draw_data() {
  return coin() ? Data::kOrdinary : static_cast<Data>(random_int(0, kDataKinds - 1));
}

void fill(float* to, std::ptrdiff_t n, Data data) {
  for (std::ptrdiff_t i = 0; i < n; ++i) to[i] = draw(data);
}

// Inserts infinities and NaNs into pixels of `depth` channels, `step` floats apart.
void sprinkle(float* to, std::ptrdiff_t pixels, std::ptrdiff_t step, int depth, Data data) {
  if (data != Data::kNotFinite || pixels == 0 || random_int(0, 3) == 0) return;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float special[] = {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()};
  for (int i = random_int(1, 2); i > 0; --i) {
    to[random_int(0, static_cast<int>(pixels) - 1) * step + random_int(0, depth - 1)] =
        special[random_int(0, 2)];
  }
}

// n pixels of `depth` channels, `step` floats apart.
Floats draw_pixels(std::ptrdiff_t n, std::ptrdiff_t step, int depth, Data data) {
  Floats pixels(n == 0 ? 0 : (n - 1) * step + kBlock);
  for (std::ptrdiff_t i = 0; i < n; ++i) fill(pixels.get() + i * step, depth, data);
  sprinkle(pixels.get(), n, step, depth, data);
  return pixels;
}

constexpr double kLargestSlope = 1.75;

Floats draw_slopes(int blocks) {
  const float slopes[] = {0.0f, 0.1f, 1.0f, -0.5f, static_cast<float>(kLargestSlope)};
  Floats slope(blocks * kBlock);
  for (int i = 0; i < blocks * kBlock; ++i) slope[i] = slopes[random_int(0, 4)];
  return slope;
}

// None for half of the draws.
Floats draw_gates(int blocks) {
  const float gates[] = {0.0f, 0.3f, 1.0f, -0.7f, 1.9f};
  Floats gate(coin() ? blocks * kBlock : 0);
  for (std::ptrdiff_t i = 0; i < gate.size(); ++i) gate[i] = gates[random_int(0, 4)];
  return gate;
}
const float* at_channel(const Floats& gate, int channel) {
  return gate.size() == 0 ? nullptr : gate.get() + channel;
}

// --- comparisons ---------------------------------------------------------------------------------

// The expected value of an element; not `written` for an element that must stay untouched.
struct Cell {
  double value = 0.0;
  double magnitude = 0.0;  // the sum of the absolute values of the terms
  double underflow = 0.0;  // bound of the rounding errors of denormal results
  bool written = false;
};

// Error bound of a value whose terms pass at most `roundings` roundings. The error of a rounding is
// at most 2^-24 of a number <= magnitude, so the first argument of min is a hard bound, except for
// products of errors. Long sums stay far below it: errors are random, so n roundings contribute
// like sqrt(n). A uniform error has a standard deviation of 0.58 of its bound, so the second
// argument is 3.5 standard deviations even if every partial sum were as large as the magnitude.
double errors_of(double roundings) { return std::min(roundings, 2.0 * std::sqrt(roundings)); }

double bound(double roundings, double magnitude, double underflow) {
  return errors_of(roundings) * 0x1p-24 * magnitude + underflow;
}

// Error bound of the difference of two rounded values.
double bound_of_two(double roundings, double magnitude, double underflow) {
  return bound(2.0 * roundings, magnitude, 2.0 * underflow);
}

// Error bound of a denormal product. Denormal sums and products with integers are exact.
constexpr double kUnderflow = 0x1p-150;

void check_value(std::ptrdiff_t at, float actual, double expected, double allowed,
                 const char* whose) {
  const bool same_class = std::isnan(expected)   ? std::isnan(actual)
                          : std::isinf(expected) ? static_cast<double>(actual) == expected
                                                 : std::isfinite(actual);
  const double error = std::fabs(static_cast<double>(actual) - expected);
  if (same_class && (!std::isfinite(expected) || error <= allowed)) {
    if (std::isfinite(expected) && error > 0.0) {
      double& share = worst[{kernel, level_name}];
      share = std::max(share, error / allowed);
    }
    return;
  }
  fail("element " + std::to_string(at) + " is " + number(static_cast<double>(actual)) + ", " +
       whose + " is " + number(expected) + "; they may differ by " + number(allowed));
}

void check_values(const Floats& actual, const std::vector<Cell>& cells, const Floats& scalar,
                  double roundings) {
  for (std::ptrdiff_t i = 0; i < actual.size(); ++i) {
    const Cell& cell = cells[static_cast<std::size_t>(i)];
    const bool untouched = same_bits(actual[i], canary<float>());
    if (cell.written == untouched) {
      fail("element " + std::to_string(i) + (untouched ? kNotWritten : " is written"));
    }
    if (!cell.written) continue;
    check_value(i, actual[i], cell.value, bound(roundings, cell.magnitude, cell.underflow),
                "the exact sum");
    check_value(i, actual[i], static_cast<double>(scalar[i]),
                bound_of_two(roundings, cell.magnitude, cell.underflow), "scalar");
  }
}

// Requires the same bits in `count` elements of two results; any two NaNs are equal.
void check_same(const float* actual, const float* expected, std::ptrdiff_t count,
                const std::string& what) {
  if (std::memcmp(actual, expected, static_cast<std::size_t>(count) * sizeof(float)) == 0) return;
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    if (same_bits(actual[i], expected[i])) continue;
    if (std::isnan(actual[i]) && std::isnan(expected[i])) continue;
    fail("element " + std::to_string(i) + " of " + what + " is " +
         number(static_cast<double>(actual[i])) + ", with the others it is " +
         number(static_cast<double>(expected[i])));
  }
}

// y = sum + bias; y = y < 0 ? y * slope : y; y *= gate; y += add. If rounding changes the sign
// of y, the error grows by at most the slope.
Cell finish(Cell cell, float bias, float slope, const float* gate, const float* add) {
  cell.value += static_cast<double>(bias);
  cell.magnitude += std::fabs(static_cast<double>(bias));
  if (cell.value < 0.0) cell.value *= static_cast<double>(slope);
  const double growth = std::max(1.0, std::fabs(static_cast<double>(slope)));
  cell.magnitude *= growth;
  cell.underflow = cell.underflow * growth + kUnderflow;
  if (gate != nullptr) {
    cell.value *= static_cast<double>(*gate);
    cell.magnitude *= std::fabs(static_cast<double>(*gate));
    cell.underflow = cell.underflow * std::fabs(static_cast<double>(*gate)) + kUnderflow;
  }
  if (add != nullptr) {
    cell.value += static_cast<double>(*add);
    cell.magnitude += std::fabs(static_cast<double>(*add));
  }
  return cell;
}
constexpr double kFinishRoundings = 4;

template <class Run>
void at_every_level(Run run) {
  for (const Level& level : waifu2x::levels()) {
    level_name = level.name;
    run(level.kernels.engine);
  }
}

// --- direct --------------------------------------------------------------------------------------

struct DirectCase {
  int pixels, blocks, blocks_in, last_depth, stride;
  bool adds;
};

void check_direct(const DirectCase& c) {
  kernel = "direct_row";
  guarded = coin();
  const Data data = draw_data();
  const int kTaps[] = {1, 1, 2, 4, 9};
  const int taps = kTaps[random_int(0, 4)], segments = taps * c.blocks_in;
  const std::ptrdiff_t step = c.stride * kBlock;
  const std::ptrdiff_t depth = (c.blocks_in - 1) * kBlock + c.last_depth;
  const std::ptrdiff_t terms = taps * depth;
  const std::ptrdiff_t weights_stride = terms * kBlock + random_int(0, 1) * kBlock;

  // Layouts: contiguous blocks, contiguous blocks with gaps between pixels, contiguous pixels.
  const int layout = random_int(0, 2);
  const std::ptrdiff_t out_step = layout == 0 ? kBlock : layout == 1 ? 32 : c.blocks * kBlock;
  const std::ptrdiff_t out_stride =
      layout == 2 ? kBlock : c.pixels * out_step + random_int(0, 1) * kBlock;
  const std::ptrdiff_t add_stride =
      layout == 2 ? kBlock : c.pixels * out_step + random_int(0, 1) * kBlock;
  const auto size = [&](std::ptrdiff_t stride) {
    return (c.blocks - 1) * stride + (c.pixels - 1) * out_step + kBlock;
  };
  place = std::to_string(c.pixels) + " pixels, " + std::to_string(c.blocks) + " blocks, " +
          std::to_string(taps) + " taps of " + std::to_string(c.blocks_in) +
          " blocks, last depth " + std::to_string(c.last_depth) + ", step " +
          std::to_string(step) + ", out step " + std::to_string(out_step) +
          (c.adds ? ", add, " : ", ") + kDataNames[static_cast<int>(data)];

  std::vector<Floats> inputs;
  std::vector<const float*> starts;
  for (int i = 0; i < segments; ++i) {
    const int channels = (i + 1) % c.blocks_in == 0 ? c.last_depth : kBlock;
    inputs.push_back(draw_pixels(c.pixels, step, channels, data));
    starts.push_back(inputs.back().get());
  }
  Floats weights((c.blocks - 1) * weights_stride + terms * kBlock);
  for (int b = 0; b < c.blocks; ++b) {
    fill(weights.get() + b * weights_stride, terms * kBlock, Data::kOrdinary);
  }
  const Floats bias = draw_pixels(c.blocks, kBlock, kBlock, data), slope = draw_slopes(c.blocks);
  const Floats gate = draw_gates(c.blocks);
  Floats add(c.adds ? size(add_stride) : 0);
  for (int b = 0; c.adds && b < c.blocks; ++b) {
    for (int p = 0; p < c.pixels; ++p) {
      fill(add.get() + b * add_stride + p * out_step, kBlock, data);
    }
    sprinkle(add.get() + b * add_stride, c.pixels, out_step, kBlock, data);
  }

  std::vector<Cell> cells(static_cast<std::size_t>(size(out_stride)));
  for (int b = 0; b < c.blocks; ++b) {
    for (int p = 0; p < c.pixels; ++p) {
      double sums[kBlock] = {}, magnitudes[kBlock] = {};
      const float* w = weights.get() + b * weights_stride;
      for (int i = 0; i < segments; ++i) {
        const int channels = (i + 1) % c.blocks_in == 0 ? c.last_depth : kBlock;
        for (int k = 0; k < channels; ++k, w += kBlock) {
          const double x = static_cast<double>(starts[static_cast<std::size_t>(i)][p * step + k]);
          for (int o = 0; o < kBlock; ++o) {
            const double product = x * static_cast<double>(w[o]);
            sums[o] += product;
            magnitudes[o] += std::fabs(product);
          }
        }
      }
      for (int o = 0; o < kBlock; ++o) {
        const float* gated = at_channel(gate, b * kBlock + o);
        const float* added =
            c.adds ? add.get() + b * add_stride + p * out_step + o : nullptr;
        cells[static_cast<std::size_t>(b * out_stride + p * out_step + o)] =
            finish({sums[o], magnitudes[o], static_cast<double>(terms) * kUnderflow, true},
                   bias[b * kBlock + o], slope[b * kBlock + o], gated, added);
      }
    }
  }
  // A product and an addition per term; the first addition, to 0, is exact.
  const double roundings = static_cast<double>(terms) + kFinishRoundings;

  // A subset of the pixels and blocks, at the same addresses.
  const auto run = [&](const Kernels& kernels, int first, int pixels, int block, int blocks) {
    std::vector<const float*> from = starts;
    for (const float*& start : from) start += first * step;
    Floats out(size(out_stride));
    DirectRow row = {};
    row.taps = from.data();
    row.segments = segments;
    row.period = c.blocks_in;
    row.last_depth = c.last_depth;
    row.step = step;
    row.weights = weights.get() + block * weights_stride;
    row.weights_stride = weights_stride;
    row.blocks = blocks;
    row.epilogue = {bias.get() + block * kBlock, slope.get() + block * kBlock,
                    at_channel(gate, block * kBlock)};
    row.add = c.adds ? add.get() + block * add_stride + first * out_step : nullptr;
    row.add_stride = add_stride;
    row.out = out.get() + block * out_stride + first * out_step;
    row.out_stride = out_stride;
    row.out_step = out_step;
    row.pixels = pixels;
    kernels.direct_row(row);
    return out;
  };
  level_name = "scalar";
  const Floats scalar = run(waifu2x::levels().front().kernels.engine, 0, c.pixels, 0, c.blocks);
  at_every_level([&](const Kernels& kernels) {
    const Floats whole = run(kernels, 0, c.pixels, 0, c.blocks);
    check_values(whole, cells, scalar, roundings);
    check_same(run(kernels, 0, c.pixels, 0, c.blocks).get(), whole.get(), whole.size(),
               "a second run");
    const int pixels = random_int(1, c.pixels), first = random_int(0, c.pixels - pixels);
    const int blocks = random_int(1, c.blocks), block = random_int(0, c.blocks - blocks);
    const Floats part = run(kernels, first, pixels, block, blocks);
    for (int b = block; b < block + blocks; ++b) {
      for (int p = first; p < first + pixels; ++p) {
        const std::ptrdiff_t at = b * out_stride + p * out_step;
        check_same(part.get() + at, whole.get() + at, kBlock,
                   "block " + std::to_string(b) + ", pixel " + std::to_string(p) + " in pixels " +
                       std::to_string(first) + " to " + std::to_string(first + pixels - 1) +
                       " of blocks " + std::to_string(block) + " to " +
                       std::to_string(block + blocks - 1));
      }
    }
  });
}

void check_directs() {
  for (int pixels = 1; pixels <= 40; ++pixels) {
    for (int blocks = 1; blocks <= 5; ++blocks) {
      if (!drawn()) continue;
      check_direct({pixels, blocks, random_int(1, 4), coin() ? kBlock : random_int(1, kBlock),
                    random_int(1, 3), coin()});
    }
  }
  for (int blocks_in = 1; blocks_in <= 4; ++blocks_in) {
    for (int last_depth = 1; last_depth <= kBlock; ++last_depth) {
      for (int stride = 1; stride <= 3; ++stride) {
        for (const bool adds : {false, true}) {
          if (!drawn()) continue;
          check_direct(
              {random_int(1, 20), random_int(1, 3), blocks_in, last_depth, stride, adds});
        }
      }
    }
  }
}

// --- Winograd ------------------------------------------------------------------------------------

// F(m x m, 3x3): outputs = A^T (G g G^T * B^T d B) A, with A, B and G as in the paper.
struct Tile {
  int size;  // m
  double b[kTileIn][kTileIn];
  double g[kTileIn][3];
  double a[kTile][kTileIn];
  // Maximum roundings of a term in a dimension of B: of its product, unless the factor is a power
  // of two, and of the additions.
  double input_roundings;
  double output_roundings;  // likewise, of A
  // Error bound of an element of B^T x in units of kUnderflow: the sum over the products with
  // fractions in its row. A has integer factors only.
  double input_underflows[kTileIn];

  int in() const { return size + 2; }
  int positions() const { return in() * in(); }
};

constexpr Tile kTiles[] = {
    {kTile,
     {{9.0 / 16, 0, -5.0 / 2, 0, 1, 0},
      {0, -9.0 / 8, -9.0 / 4, 1.0 / 2, 1, 0},
      {0, 9.0 / 8, -9.0 / 4, -1.0 / 2, 1, 0},
      {0, -3.0 / 8, -1.0 / 4, 3.0 / 2, 1, 0},
      {0, 3.0 / 8, -1.0 / 4, -3.0 / 2, 1, 0},
      {0, 9.0 / 16, 0, -5.0 / 2, 0, 1}},
     {{16.0 / 9, 0, 0},
      {-1.0 / 8, -1.0 / 16, -1.0 / 32},
      {-1.0 / 8, 1.0 / 16, -1.0 / 32},
      {1.0 / 72, 1.0 / 48, 1.0 / 32},
      {1.0 / 72, -1.0 / 48, 1.0 / 32},
      {0, 0, 1}},
     {{1, 8, 8, 8, 8, 0}, {0, 4, -4, 12, -12, 0}, {0, 2, 2, 18, 18, 0}, {0, 1, -1, 27, -27, 1}},
     3,
     3,
     // 9/8 is 1/2 * 9/4: half the error of the inner product plus the error of the outer; so is
     // 3/8.
     {2, 2.5, 2.5, 3.5, 3.5, 2}}};

// Both dimensions.
double input_roundings(const Tile& tile) { return 2.0 * tile.input_roundings; }
double output_roundings(const Tile& tile) { return 2.0 * tile.output_roundings; }

// The second pass amplifies the error of the first pass, over columns.
double input_underflow(const Tile& tile, int position) {
  const int y = position / tile.in(), x = position % tile.in();
  double growth = 0.0;
  for (const double factor : tile.b[x]) growth += std::fabs(factor);
  return (tile.input_underflows[y] * growth + tile.input_underflows[x]) * kUnderflow;
}

double square(double x) { return x * x; }

using Matrix = double[kTileIn][kTileIn];

// An element of M x M^T and its magnitude, from two rows of M. Skips terms with factor 0, since
// 0 * infinity is NaN.
Cell transformed(const Tile& tile, const Matrix& x, const double* down, const double* across) {
  Cell cell = {0.0, 0.0, 0.0, true};
  for (int i = 0; i < tile.in(); ++i) {
    if (down[i] == 0.0) continue;
    for (int j = 0; j < tile.in(); ++j) {
      const double factor = down[i] * across[j];
      if (factor == 0.0) continue;
      cell.value += factor * x[i][j];
      cell.magnitude += std::fabs(factor * x[i][j]);
    }
  }
  return cell;
}

std::string kernel_of(const char* what) {
  return std::string("winograd") + what;
}

void check_input(const Tile& tile, int tiles) {
  kernel = kernel_of("_input");
  guarded = coin();
  const Data data = draw_data();
  place = std::to_string(tiles) + " tiles, " + kDataNames[static_cast<int>(data)];
  const int in = tile.in(), positions = tile.positions();
  const std::ptrdiff_t v_position = (tiles + random_int(0, 1) * 3) * kBlock;
  std::vector<Floats> rows;
  for (int i = 0; i < in; ++i) {
    rows.push_back(draw_pixels(tile.size * tiles + 2, kBlock, kBlock, data));
  }

  std::vector<Cell> cells(
      static_cast<std::size_t>((positions - 1) * v_position + tiles * kBlock));
  for (int t = 0; t < tiles; ++t) {
    for (int c = 0; c < kBlock; ++c) {
      Matrix x;
      for (int i = 0; i < in; ++i) {
        for (int j = 0; j < in; ++j) {
          x[i][j] = static_cast<double>(
              rows[static_cast<std::size_t>(i)][(tile.size * t + j) * kBlock + c]);
        }
      }
      for (int position = 0; position < positions; ++position) {
        Cell& cell = cells[static_cast<std::size_t>(position * v_position + t * kBlock + c)];
        cell = transformed(tile, x, tile.b[position / in], tile.b[position % in]);
        cell.underflow = input_underflow(tile, position);
      }
    }
  }

  const auto run = [&](const Kernels& kernels, int first, int count) {
    const float* from[kTileIn];
    for (int i = 0; i < in; ++i) {
      from[i] = rows[static_cast<std::size_t>(i)].get() + first * tile.size * kBlock;
    }
    Floats v((positions - 1) * v_position + tiles * kBlock);
    kernels.winograd_input(from, count, v.get() + first * kBlock, v_position);
    return v;
  };
  level_name = "scalar";
  const Floats scalar = run(waifu2x::levels().front().kernels.engine, 0, tiles);
  at_every_level([&](const Kernels& kernels) {
    const Floats whole = run(kernels, 0, tiles);
    check_values(whole, cells, scalar, input_roundings(tile));
    check_same(run(kernels, 0, tiles).get(), whole.get(), whole.size(), "a second run");
    const int count = random_int(1, tiles), first = random_int(0, tiles - count);
    const Floats part = run(kernels, first, count);
    for (int position = 0; position < positions; ++position) {
      const std::ptrdiff_t at = position * v_position + first * kBlock;
      check_same(part.get() + at, whole.get() + at, count * kBlock,
                 "position " + std::to_string(position) + " of tiles " + std::to_string(first) +
                     " to " + std::to_string(first + count - 1));
    }
  });
}

void check_product(int positions, int tiles, int blocks, int blocks_in, int last_depth) {
  kernel = "winograd_product";
  guarded = coin();
  const Data data = draw_data();
  place = std::to_string(positions) + " positions, " + std::to_string(tiles) + " tiles, " +
          std::to_string(blocks_in) + " to " + std::to_string(blocks) + " blocks, last depth " +
          std::to_string(last_depth) + ", " + kDataNames[static_cast<int>(data)];
  const std::ptrdiff_t depth = (blocks_in - 1) * kBlock + last_depth;
  const std::ptrdiff_t weights_stride = positions * depth * kBlock + random_int(0, 1) * kBlock;
  const std::ptrdiff_t v_gap = random_int(0, 1) * 3 * kBlock, m_gap = random_int(0, 1) * 3 * kBlock;
  const std::ptrdiff_t m_position = tiles * kBlock + m_gap;
  const std::ptrdiff_t m_stride = positions * m_position + random_int(0, 1) * kBlock;
  const std::ptrdiff_t m_size =
      (blocks - 1) * m_stride + (positions - 1) * m_position + tiles * kBlock;

  std::vector<Floats> values;  // (position, block), each of all tiles; a run copies its own
  for (int i = 0; i < positions * blocks_in; ++i) {
    const int channels = (i + 1) % blocks_in == 0 ? last_depth : kBlock;
    values.push_back(draw_pixels(tiles, kBlock, channels, data));
  }
  Floats weights((blocks - 1) * weights_stride + positions * depth * kBlock);
  for (int b = 0; b < blocks; ++b) {
    fill(weights.get() + b * weights_stride, positions * depth * kBlock, Data::kOrdinary);
  }

  std::vector<Cell> cells(static_cast<std::size_t>(m_size));
  for (int b = 0; b < blocks; ++b) {
    for (int position = 0; position < positions; ++position) {
      for (int t = 0; t < tiles; ++t) {
        double sums[kBlock] = {}, magnitudes[kBlock] = {};
        const float* w = weights.get() + b * weights_stride + position * depth * kBlock;
        for (std::ptrdiff_t k = 0; k < depth; ++k, w += kBlock) {
          const Floats& from = values[static_cast<std::size_t>(position * blocks_in + k / kBlock)];
          const double x = static_cast<double>(from[t * kBlock + k % kBlock]);
          for (int o = 0; o < kBlock; ++o) {
            const double product = x * static_cast<double>(w[o]);
            sums[o] += product;
            magnitudes[o] += std::fabs(product);
          }
        }
        for (int o = 0; o < kBlock; ++o) {
          cells[static_cast<std::size_t>(b * m_stride + position * m_position + t * kBlock + o)] = {
              sums[o], magnitudes[o], static_cast<double>(depth) * kUnderflow, true};
        }
      }
    }
  }

  const auto run = [&](const Kernels& kernels, int first, int count, int block, int n) {
    const std::ptrdiff_t v_position = blocks_in * count * kBlock + v_gap;
    Floats v((positions - 1) * v_position + blocks_in * count * kBlock);
    for (int position = 0; position < positions; ++position) {
      for (int i = 0; i < blocks_in; ++i) {
        std::memcpy(v.get() + position * v_position + i * count * kBlock,
                    values[static_cast<std::size_t>(position * blocks_in + i)].get() +
                        first * kBlock,
                    static_cast<std::size_t>(count * kBlock) * sizeof(float));
      }
    }
    Floats m(m_size);
    WinogradProduct p = {};
    p.tiles = count;
    p.blocks_in = blocks_in;
    p.last_depth = last_depth;
    p.v = v.get();
    p.v_position = v_position;
    p.weights = weights.get() + block * weights_stride;
    p.weights_stride = weights_stride;
    p.blocks = n;
    p.m = m.get() + block * m_stride + first * kBlock;
    p.m_stride = m_stride;
    p.m_position = m_position;
    kernels.winograd_product(p);
    return m;
  };
  level_name = "scalar";
  const Floats scalar = run(waifu2x::levels().front().kernels.engine, 0, tiles, 0, blocks);
  at_every_level([&](const Kernels& kernels) {
    const Floats whole = run(kernels, 0, tiles, 0, blocks);
    check_values(whole, cells, scalar, static_cast<double>(depth));
    check_same(run(kernels, 0, tiles, 0, blocks).get(), whole.get(), whole.size(), "a second run");
    const int count = random_int(1, tiles), first = random_int(0, tiles - count);
    const int n = random_int(1, blocks), block = random_int(0, blocks - n);
    const Floats part = run(kernels, first, count, block, n);
    for (int b = block; b < block + n; ++b) {
      for (int position = 0; position < positions; ++position) {
        const std::ptrdiff_t at = b * m_stride + position * m_position + first * kBlock;
        check_same(part.get() + at, whole.get() + at, count * kBlock,
                   "block " + std::to_string(b) + ", position " + std::to_string(position) +
                       " of tiles " + std::to_string(first) + " to " +
                       std::to_string(first + count - 1) + ", blocks " + std::to_string(block) +
                       " to " + std::to_string(block + n - 1));
      }
    }
  });
}

void check_output(const Tile& tile, int rows, int columns, bool adds) {
  kernel = kernel_of("_output");
  guarded = coin();
  const Data data = draw_data();
  place = std::to_string(rows) + " rows, " + std::to_string(columns) + " columns, " +
          (adds ? "add, " : "") + kDataNames[static_cast<int>(data)];
  const int size = tile.size, in = tile.in(), positions = tile.positions();
  const int tiles = (columns + size - 1) / size;
  const std::ptrdiff_t m_position = (tiles + random_int(0, 1) * 3) * kBlock;
  Floats m((positions - 1) * m_position + tiles * kBlock);
  for (int i = 0; i < positions; ++i) fill(m.get() + i * m_position, tiles * kBlock, data);
  sprinkle(m.get(), tiles, kBlock, kBlock, data);
  const Floats bias = draw_pixels(1, kBlock, kBlock, data), slope = draw_slopes(1);
  const Floats gate = draw_gates(1);
  std::vector<Floats> add;
  for (int y = 0; y < rows; ++y) {
    add.push_back(draw_pixels(adds ? columns : 0, kBlock, kBlock, data));
  }

  std::vector<std::vector<Cell>> cells;
  for (int y = 0; y < rows; ++y) {
    cells.emplace_back(static_cast<std::size_t>(columns * kBlock));
    for (int i = 0; i < columns * kBlock; ++i) {
      const int t = i / kBlock / size, x = i / kBlock % size, c = i % kBlock;
      Matrix products;
      for (int position = 0; position < positions; ++position) {
        products[position / in][position % in] =
            static_cast<double>(m[position * m_position + t * kBlock + c]);
      }
      cells.back()[static_cast<std::size_t>(i)] =
          finish(transformed(tile, products, tile.a[y], tile.a[x]), bias[c], slope[c],
                 at_channel(gate, c), adds ? &add[static_cast<std::size_t>(y)][i] : nullptr);
    }
  }

  // A subset of the tiles and of their rows, each row in its own buffer.
  const auto run = [&](const Kernels& kernels, int first, int n_rows, int n_columns) {
    std::vector<Floats> out;
    WinogradOutput o = {};
    o.m = m.get() + first * kBlock;
    o.m_position = m_position;
    o.epilogue = {bias.get(), slope.get(), at_channel(gate, 0)};
    for (int y = 0; y < n_rows; ++y) {
      out.emplace_back(n_columns * kBlock);
      o.out[y] = out.back().get();
      if (adds) o.add[y] = add[static_cast<std::size_t>(y)].get() + first * size * kBlock;
    }
    o.rows = n_rows;
    o.columns = n_columns;
    kernels.winograd_output(o);
    return out;
  };
  level_name = "scalar";
  const std::vector<Floats> scalar =
      run(waifu2x::levels().front().kernels.engine, 0, rows, columns);
  at_every_level([&](const Kernels& kernels) {
    const std::vector<Floats> whole = run(kernels, 0, rows, columns);
    const std::vector<Floats> again = run(kernels, 0, rows, columns);
    const int first = random_int(0, tiles - 1), n_rows = random_int(1, rows);
    const int n_columns = random_int(1, columns - first * size);
    const std::vector<Floats> part = run(kernels, first, n_rows, n_columns);
    for (std::size_t y = 0; y < whole.size(); ++y) {
      check_values(whole[y], cells[y], scalar[y], output_roundings(tile) + kFinishRoundings);
      check_same(again[y].get(), whole[y].get(), whole[y].size(), "a second run");
      if (y >= part.size()) continue;
      check_same(part[y].get(), whole[y].get() + first * size * kBlock, part[y].size(),
                 std::to_string(n_rows) + " rows and " + std::to_string(n_columns) +
                     " columns from tile " + std::to_string(first));
    }
  });
}

// Compares the three Winograd kernels, with weights transformed here, to a 3x3 convolution.
// Excludes infinities, which become NaNs throughout a tile.
void check_winograd(const Tile& tile, int tiles, int blocks, int blocks_in, int last_depth) {
  kernel = kernel_of("");
  guarded = coin();
  const Data data = static_cast<Data>(random_int(0, kDataKinds - 2));
  const int size = tile.size, in = tile.in(), positions = tile.positions();
  const int rows = random_int(1, size), columns = tiles * size - random_int(0, size - 1);
  place = std::to_string(tiles) + " tiles, " + std::to_string(blocks_in) + " to " +
          std::to_string(blocks) + " blocks, last depth " + std::to_string(last_depth) + ", " +
          std::to_string(rows) + " rows, " + std::to_string(columns) + " columns, " +
          kDataNames[static_cast<int>(data)];
  const int depth = (blocks_in - 1) * kBlock + last_depth, outputs = blocks * kBlock;
  const int width = size * tiles + 2;
  std::vector<Floats> input;  // (block, row); all 16 channels are read, those not there are zeros
  for (int i = 0; i < blocks_in; ++i) {
    for (int y = 0; y < in; ++y) {
      input.push_back(draw_pixels(width, kBlock, kBlock, data));
      const int channels = i + 1 < blocks_in ? kBlock : last_depth;
      for (int x = 0; x < width; ++x) {
        std::fill_n(input.back().get() + x * kBlock + channels, kBlock - channels, 0.0f);
      }
    }
  }
  const auto pixel = [&](int k, int y, int x) {
    return static_cast<double>(
        input[static_cast<std::size_t>(k / kBlock * in + y)][x * kBlock + k % kBlock]);
  };
  std::vector<double> g(static_cast<std::size_t>(outputs * depth * 9));  // (output, channel, 3, 3)
  for (double& weight : g) weight = static_cast<double>(draw(Data::kOrdinary));
  const std::ptrdiff_t weights_stride = static_cast<std::ptrdiff_t>(positions) * depth * kBlock;
  Floats weights(blocks * weights_stride);
  const auto weight_at = [&](int o, int k, int position) {
    return o / kBlock * weights_stride + (position * depth + k) * kBlock + o % kBlock;
  };
  for (int o = 0; o < outputs; ++o) {
    for (int k = 0; k < depth; ++k) {
      const double* w = &g[static_cast<std::size_t>((o * depth + k) * 9)];
      for (int position = 0; position < positions; ++position) {
        double sum = 0.0;
        for (int i = 0; i < 3; ++i) {
          for (int j = 0; j < 3; ++j) {
            sum += tile.g[position / in][i] * w[i * 3 + j] * tile.g[position % in][j];
          }
        }
        weights[weight_at(o, k, position)] = static_cast<float>(sum);
      }
    }
  }
  const Floats bias = draw_pixels(blocks, kBlock, kBlock, data), slope = draw_slopes(blocks);
  const Floats gate = draw_gates(blocks);

  // The value is that of the convolution, the error bound that of the Winograd computation. Errors
  // of the channels of a position and of the positions of a tile are independent, so the root of
  // the sum of squares replaces their sum, each at no less than 3.5 standard deviations. Errors are
  // in units of 2^-24; the magnitude is scaled for a single rounding.
  std::vector<std::vector<Cell>> cells(static_cast<std::size_t>(blocks * rows));
  for (std::vector<Cell>& row : cells) row.resize(static_cast<std::size_t>(columns * kBlock));
  for (int t = 0; t < tiles; ++t) {
    std::vector<Cell> v;  // (channel, position)
    for (int k = 0; k < depth; ++k) {
      Matrix x;
      for (int i = 0; i < positions; ++i) {
        x[i / in][i % in] = pixel(k, i / in, t * size + i % in);
      }
      for (int i = 0; i < positions; ++i) {
        v.push_back(transformed(tile, x, tile.b[i / in], tile.b[i % in]));
      }
    }
    for (int o = 0; o < outputs; ++o) {
      Matrix products, error_squares, underflow_squares;
      for (int i = 0; i < positions; ++i) {
        double sum = 0.0, terms = 0.0, squares = 0.0, underflows = 0.0;
        for (int k = 0; k < depth; ++k) {
          const double weight = static_cast<double>(weights[weight_at(o, k, i)]);
          const Cell& from = v[static_cast<std::size_t>(k * positions + i)];
          const double product = weight * from.value;
          sum += product;
          terms += std::fabs(product);
          squares += square(2.0 * product);  // the rounding of the weight
          squares += square(weight * from.magnitude * errors_of(input_roundings(tile)));
          underflows += square(weight * input_underflow(tile, i)) + square(kUnderflow);
        }
        products[i / in][i % in] = sum;
        error_squares[i / in][i % in] = squares + square(terms * errors_of(depth));
        underflow_squares[i / in][i % in] = underflows;
      }
      for (int y = 0; y < rows; ++y) {
        for (int x = 0; x < size && t * size + x < columns; ++x) {
          Cell cell = {0.0, 0.0, 0.0, true};
          for (int k = 0; k < depth; ++k) {
            const double* w = &g[static_cast<std::size_t>((o * depth + k) * 9)];
            for (int i = 0; i < 9; ++i) {
              cell.value += w[i] * pixel(k, y + i / 3, t * size + x + i % 3);
            }
          }
          double terms = std::fabs(static_cast<double>(bias[o])), squares = 0.0, underflows = 0.0;
          for (int i = 0; i < positions; ++i) {
            const double factor = tile.a[y][i / in] * tile.a[x][i % in];
            terms += std::fabs(factor * products[i / in][i % in]);
            squares += square(factor) * error_squares[i / in][i % in];
            underflows += square(factor) * underflow_squares[i / in][i % in];
          }
          squares += square(terms * errors_of(output_roundings(tile) + kFinishRoundings));
          cell.magnitude = std::sqrt(squares);
          // Underflow errors are uniform within their bounds: use 5 standard deviations.
          cell.underflow = 3.0 * std::sqrt(underflows);
          cells[static_cast<std::size_t>(o / kBlock * rows + y)]
               [static_cast<std::size_t>((t * size + x) * kBlock + o % kBlock)] =
                   finish(cell, bias[o], slope[o], at_channel(gate, o), nullptr);
        }
      }
    }
  }

  const auto run = [&](const Kernels& kernels) {
    const std::ptrdiff_t v_position = blocks_in * tiles * kBlock;
    Floats v(positions * v_position), m(blocks * positions * tiles * kBlock);
    for (int i = 0; i < blocks_in; ++i) {
      const float* from[kTileIn];
      for (int y = 0; y < in; ++y) {
        from[y] = input[static_cast<std::size_t>(i * in + y)].get();
      }
      kernels.winograd_input(from, tiles, v.get() + i * tiles * kBlock, v_position);
    }
    WinogradProduct p = {};
    p.tiles = tiles;
    p.blocks_in = blocks_in;
    p.last_depth = last_depth;
    p.v = v.get();
    p.v_position = v_position;
    p.weights = weights.get();
    p.weights_stride = weights_stride;
    p.blocks = blocks;
    p.m = m.get();
    p.m_position = tiles * kBlock;
    p.m_stride = positions * p.m_position;
    kernels.winograd_product(p);
    std::vector<Floats> out;
    for (int b = 0; b < blocks; ++b) {
      WinogradOutput o = {};
      o.m = m.get() + b * p.m_stride;
      o.m_position = p.m_position;
      o.epilogue = {bias.get() + b * kBlock, slope.get() + b * kBlock,
                    at_channel(gate, b * kBlock)};
      for (int y = 0; y < rows; ++y) {
        out.emplace_back(columns * kBlock);
        o.out[y] = out.back().get();
      }
      o.rows = rows;
      o.columns = columns;
      kernels.winograd_output(o);
    }
    return out;
  };
  level_name = "scalar";
  const std::vector<Floats> scalar = run(waifu2x::levels().front().kernels.engine);
  at_every_level([&](const Kernels& kernels) {
    const std::vector<Floats> out = run(kernels);
    for (std::size_t i = 0; i < out.size(); ++i) {
      check_values(out[i], cells[i], scalar[i], 1.0);
    }
  });
}

void check_winograds(const Tile& tile) {
  for (int tiles = 1; tiles <= 40; ++tiles) {
    for (int repeat = 0; repeat < 6; ++repeat) {
      if (drawn()) check_input(tile, tiles);
    }
    for (int blocks = 1; blocks <= 5; ++blocks) {
      if (!drawn()) continue;
      check_product(tile.positions(), tiles, blocks, random_int(1, 4),
                    coin() ? kBlock : random_int(1, kBlock));
    }
  }
  for (int blocks_in = 1; blocks_in <= 4; ++blocks_in) {
    for (int last_depth = 1; last_depth <= kBlock; ++last_depth) {
      if (drawn()) {
        check_product(tile.positions(), random_int(1, 16), random_int(1, 3), blocks_in, last_depth);
      }
      if (drawn()) check_winograd(tile, random_int(1, 7), random_int(1, 3), blocks_in, last_depth);
    }
  }
  for (int rows = 1; rows <= tile.size; ++rows) {
    for (int columns = 1; columns <= 40 * tile.size; ++columns) {
      for (const bool adds : {false, true}) {
        if (columns > 10 * tile.size && random_int(0, 3) != 0) continue;
        if (drawn()) check_output(tile, rows, columns, adds);
      }
    }
  }
}

// --- elementwise ---------------------------------------------------------------------------------

struct Elementwise {
  const char* name;
  // Pixels from `first` on; x and out point to the first pixel.
  std::function<void(const Kernels&, const float* x, float* out, int first, int n)> run;
  std::function<double(int)> exact;
  double roundings;  // none where a float is the exact result, rounded once
  std::function<double(int)> magnitude;
  bool zeros_signed;
};

void check_elementwise(const Elementwise& e, const Floats& x, int n) {
  kernel = e.name;
  Floats scalar(x.size());
  level_name = "scalar";
  e.run(waifu2x::levels().front().kernels.engine, x.get(), scalar.get(), 0, n);
  at_every_level([&](const Kernels& kernels) {
    Floats whole(x.size()), in_place(x.size());
    e.run(kernels, x.get(), whole.get(), 0, n);
    std::copy_n(x.get(), x.size(), in_place.get());
    e.run(kernels, in_place.get(), in_place.get(), 0, n);
    check_same(in_place.get(), whole.get(), whole.size(), "the result in place");
    for (int i = 0; i < n * kBlock; ++i) {
      if (same_bits(whole[i], canary<float>())) {
        fail("element " + std::to_string(i) + kNotWritten);
      }
      const double roundings = e.roundings, magnitude = e.magnitude(i);
      const double underflow = roundings > 0.0 ? kUnderflow : 0.0;
      double exact = e.exact(i);
      // A sum or product of two floats in double still rounds to the correct float.
      if (roundings == 0.0) exact = static_cast<double>(static_cast<float>(exact));
      check_value(i, whole[i], exact, bound(roundings, magnitude, underflow),
                  "the exact result");
      check_value(i, whole[i], static_cast<double>(scalar[i]),
                  bound_of_two(roundings, magnitude, underflow), "scalar");
      if (e.zeros_signed && whole[i] == 0.0f && std::signbit(whole[i]) != std::signbit(exact)) {
        fail("element " + std::to_string(i) + " is a zero of the wrong sign");
      }
    }
    if (n == 0) return;
    const int count = random_int(1, n), first = random_int(0, n - count);
    Floats part(count * kBlock);
    e.run(kernels, x.get() + first * kBlock, part.get(), first, count);
    check_same(part.get(), whole.get() + first * kBlock, part.size(),
               "pixels " + std::to_string(first) + " to " + std::to_string(first + count - 1));
  });
}

void check_sum(const Floats& x, int n, Data data) {
  kernel = "sum";
  double before[kBlock], exact[kBlock], magnitudes[kBlock], scalar[kBlock] = {};
  for (int c = 0; c < kBlock; ++c) {
    before[c] = exact[c] = static_cast<double>(draw(data));
    magnitudes[c] = std::fabs(before[c]);
  }
  for (int i = 0; i < n * kBlock; ++i) {
    exact[i % kBlock] += static_cast<double>(x[i]);
    magnitudes[i % kBlock] += std::fabs(static_cast<double>(x[i]));
  }
  at_every_level([&](const Kernels& kernels) {
    Buffer<double> sums(kBlock), again(kBlock);
    std::copy_n(before, kBlock, sums.get());
    std::copy_n(before, kBlock, again.get());
    kernels.sum(x.get(), sums.get(), n);
    kernels.sum(x.get(), again.get(), n);
    for (int c = 0; c < kBlock; ++c) {
      if (level_name == "scalar") scalar[c] = sums[c];
      // n additions of doubles, in two orders.
      const double allowed = 2 * n * 0x1p-53 * magnitudes[c];
      for (const double expected : {exact[c], scalar[c]}) {
        const bool agree = std::isnan(expected)   ? std::isnan(sums[c])
                           : std::isinf(expected) ? sums[c] == expected
                                                  : std::fabs(sums[c] - expected) <= allowed;
        if (!agree) {
          fail("channel " + std::to_string(c) + " is " + number(sums[c]) + ", should be " +
               number(expected) + " within " + number(allowed));
        }
      }
      if (!same_bits(again[c], sums[c]) && !std::isnan(sums[c])) {
        fail("channel " + std::to_string(c) + " is " + number(again[c]) + " in a second run, " +
             number(sums[c]) + " in the first");
      }
    }
  });
}

void check_elementwises(int n) {
  guarded = coin();
  const Data data = draw_data();
  place = std::to_string(n) + " pixels, " + kDataNames[static_cast<int>(data)];
  const Floats x = draw_pixels(n, kBlock, kBlock, data), y = draw_pixels(n, kBlock, kBlock, data);
  const Floats z = draw_pixels(n, kBlock, kBlock, data);
  const Floats gate = draw_pixels(1, kBlock, kBlock, Data::kOrdinary), slope = draw_slopes(1);
  const Floats scale = draw_pixels(1, kBlock, kBlock, Data::kOrdinary);
  const Floats offset = draw_pixels(1, kBlock, kBlock, data);
  const float weights[] = {draw(Data::kOrdinary), draw(Data::kOrdinary)};
  const auto of = [](float value) { return static_cast<double>(value); };
  const auto none = [](int) { return 0.0; };

  check_elementwise({"multiply",
                     [&](const Kernels& k, const float* from, float* out, int, int count) {
                       k.multiply(from, gate.get(), out, count);
                     },
                     [&](int i) { return of(x[i]) * of(gate[i % kBlock]); }, 0.0, none, true},
                    x, n);
  check_elementwise({"add",
                     [&](const Kernels& k, const float* from, float* out, int first, int count) {
                       k.add(from, y.get() + first * kBlock, out, count);
                     },
                     [&](int i) { return of(x[i]) + of(y[i]); }, 0.0, none, true},
                    x, n);
  check_elementwise({"product",
                     [&](const Kernels& k, const float* from, float* out, int first, int count) {
                       k.product(from, y.get() + first * kBlock, out, count);
                     },
                     [&](int i) { return of(x[i]) * of(y[i]); }, 0.0, none, true},
                    x, n);
  check_elementwise({"affine",
                     [&](const Kernels& k, const float* from, float* out, int, int count) {
                       k.affine(from, scale.get(), offset.get(), out, count);
                     },
                     [&](int i) {
                       return of(x[i]) * of(scale[i % kBlock]) + of(offset[i % kBlock]);
                     },
                     2.0,
                     [&](int i) {
                       return std::fabs(of(x[i]) * of(scale[i % kBlock])) +
                              std::fabs(of(offset[i % kBlock]));
                     },
                     false},
                    x, n);
  const auto logistic = [&](int i) { return 0.5 + 0.5 * std::tanh(0.5 * of(x[i])); };
  check_elementwise({"sigmoid",
                     [&](const Kernels& k, const float* from, float* out, int, int count) {
                       k.pointwise({Function::sigmoid, from, nullptr, nullptr, out, count});
                     },
                     logistic, 4.0, [](int) { return 1.0; }, false},
                    x, n);
  check_elementwise({"silu",
                     [&](const Kernels& k, const float* from, float* out, int, int count) {
                       k.pointwise({Function::silu, from, nullptr, nullptr, out, count});
                     },
                     // The function is clamped far below 0, and infinity stays infinite.
                     [&](int i) {
                       return std::isinf(x[i]) && x[i] < 0 ? of(x[i]) : of(x[i]) * logistic(i);
                     },
                     4.0,
                     [&](int i) { return std::fabs(of(x[i])); }, false},
                    x, n);
  check_elementwise({"tanh",
                     [&](const Kernels& k, const float* from, float* out, int, int count) {
                       k.pointwise({Function::tanh, from, nullptr, nullptr, out, count});
                     },
                     [&](int i) { return std::tanh(of(x[i])); }, 4.0,
                     [&](int i) { return std::fabs(std::tanh(of(x[i]))); }, false},
                    x, n);
  for (const bool gates : {false, true}) {
    for (const bool sums : {false, true}) {
      if (!gates && !sums) continue;
      const auto gated = [&](int i) {
        return std::tanh(of(x[i])) * (gates ? of(y[i]) : 1.0);
      };
      check_elementwise(
          {gates ? "tanh, product" : "tanh, sum",
           [&](const Kernels& k, const float* from, float* out, int first, int count) {
             const std::ptrdiff_t at = first * kBlock;
             k.pointwise({Function::tanh, from, gates ? y.get() + at : nullptr,
                          sums ? z.get() + at : nullptr, out, count});
           },
           [&](int i) { return gated(i) + (sums ? of(z[i]) : 0.0); }, 6.0,
           [&](int i) {
             // The product may be denormal and is then rounded more coarsely.
             constexpr double kDenormal = 4e-38;
             return std::fabs(gated(i)) + (sums ? std::fabs(of(z[i])) : 0.0) + kDenormal;
           },
           false},
          x, n);
    }
  }
  check_elementwise({"product, sum",
                     [&](const Kernels& k, const float* from, float* out, int first, int count) {
                       const std::ptrdiff_t at = first * kBlock;
                       k.pointwise({Function::identity, from, y.get() + at, z.get() + at, out,
                                    count});
                     },
                     // The product is rounded before the sum, at every level.
                     [&](int i) {
                       return of(static_cast<float>(of(x[i]) * of(y[i]))) + of(z[i]);
                     },
                     0.0, none, true},
                    x, n);
  check_elementwise({"weighted",
                     [&](const Kernels& k, const float* from, float* out, int first, int count) {
                       const float* const rows[] = {from, y.get() + first * kBlock};
                       k.weighted(rows, weights, 2, out, count);
                     },
                     [&](int i) { return of(x[i]) * of(weights[0]) + of(y[i]) * of(weights[1]); },
                     2.0,
                     [&](int i) {
                       // Each product may be denormal and is then rounded more coarsely.
                       constexpr double kDenormal = 4e-38;
                       return std::fabs(of(x[i]) * of(weights[0])) +
                              std::fabs(of(y[i]) * of(weights[1])) + kDenormal;
                     },
                     false},
                    x, n);
  check_elementwise({"activate",
                     [&](const Kernels& k, const float* from, float* out, int, int count) {
                       k.activate(from, slope.get(), out, count);
                     },
                     [&](int i) { return of(x[i]) * (x[i] < 0.0f ? of(slope[i % kBlock]) : 1.0); },
                     0.0, none, false},
                    x, n);
  check_sum(x, n, data);
}

// --- times ---------------------------------------------------------------------------------------

struct Timed {
  std::string name;
  double operations;  // 0 if a rate is meaningless
  std::function<void(const Kernels&)> run;
};

double seconds_of(const Timed& timed, const Kernels& kernels, int calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) timed.run(kernels);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Floats ordinary(std::ptrdiff_t size) {
  Floats values(size);
  fill(values.get(), size, Data::kOrdinary);
  return values;
}

Timed time_product(int in, int out, int tiles) {
  struct Work {
    Floats v, weights, m;
    WinogradProduct p;
  };
  const int positions = kPositions;
  const std::ptrdiff_t v_position = static_cast<std::ptrdiff_t>(in) * tiles;
  const std::ptrdiff_t m_position = tiles * kBlock;
  const auto work = std::make_shared<Work>(
      Work{ordinary(positions * v_position), ordinary(positions * in * out),
           ordinary(positions * out * tiles), WinogradProduct{}});
  WinogradProduct& p = work->p;
  p.tiles = tiles;
  p.blocks_in = in / kBlock;
  p.last_depth = kBlock;
  p.v = work->v.get();
  p.v_position = v_position;
  p.weights = work->weights.get();
  p.weights_stride = static_cast<std::ptrdiff_t>(positions) * in * kBlock;
  p.blocks = out / kBlock;
  p.m = work->m.get();
  p.m_position = m_position;
  p.m_stride = positions * m_position;
  return {"winograd_product, " + std::to_string(positions) + " x " + std::to_string(in) + "->" +
              std::to_string(out) + ", " + std::to_string(tiles) + " tiles",
          2.0 * positions * tiles * in * out,
          [work](const Kernels& kernels) { kernels.winograd_product(work->p); }};
}

// A size x size convolution with `in` and `out` channels; an even `size` is also the stride.
Timed time_direct(int size, int in, int out, int pixels) {
  struct Work {
    std::vector<Floats> x;
    std::vector<const float*> taps;
    Floats weights, bias, slope, y;
    DirectRow row;
  };
  const int blocks_in = (in + kBlock - 1) / kBlock, stride = size % 2 == 0 ? size : 1;
  const auto work = std::make_shared<Work>(Work{
      {}, {}, ordinary(size * size * in * out), ordinary(out), ordinary(out),
      ordinary(pixels * out), DirectRow{}});
  for (int i = 0; i < size * blocks_in; ++i) {
    work->x.push_back(ordinary((pixels * stride + size) * kBlock));
  }
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      for (int i = 0; i < blocks_in; ++i) {
        work->taps.push_back(work->x[static_cast<std::size_t>(y * blocks_in + i)].get() +
                             x * kBlock);
      }
    }
  }
  DirectRow& row = work->row;
  row.taps = work->taps.data();
  row.segments = size * size * blocks_in;
  row.period = blocks_in;
  row.last_depth = in - (blocks_in - 1) * kBlock;
  row.step = stride * kBlock;
  row.weights = work->weights.get();
  row.weights_stride = size * size * in * kBlock;
  row.blocks = out / kBlock;
  row.epilogue = {work->bias.get(), work->slope.get(), nullptr};
  row.out = work->y.get();
  row.out_stride = pixels * kBlock;
  row.out_step = kBlock;
  row.pixels = pixels;
  const std::string kind = std::to_string(size) + "x" + std::to_string(size);
  return {"direct_row " + kind + (stride > 1 ? " stride " + std::to_string(stride) : "") + " " +
              std::to_string(in) + "->" + std::to_string(out) + ", " + std::to_string(pixels) +
              " pixels",
          2.0 * size * size * in * out * pixels,
          [work](const Kernels& kernels) { kernels.direct_row(work->row); }};
}

std::vector<Timed> time_transforms(int tile, int tiles) {
  struct Work {
    Floats x, v, bias, slope, add, out;
  };
  const int in = kTileIn, positions = kPositions;
  const std::ptrdiff_t width = (tile * tiles + 2) * kBlock, columns = tile * tiles * kBlock;
  const auto work = std::make_shared<Work>(
      Work{ordinary(in * width), ordinary(positions * tiles * kBlock), ordinary(kBlock),
           ordinary(kBlock), ordinary(tile * columns), ordinary(tile * columns)});
  const auto output = [=](const Kernels& kernels, bool adds) {
    WinogradOutput o = {};
    o.m = work->v.get();
    o.m_position = tiles * kBlock;
    o.epilogue = {work->bias.get(), work->slope.get(), nullptr};
    for (int y = 0; y < tile; ++y) {
      o.out[y] = work->out.get() + y * columns;
      o.add[y] = adds ? work->add.get() + y * columns : nullptr;
    }
    o.rows = tile;
    o.columns = tile * tiles;
    kernels.winograd_output(o);
  };
  const std::string name = "winograd";
  const std::string size = ", " + std::to_string(tiles) + " tiles";
  return {{name + "_input" + size, 0.0,
           [=](const Kernels& kernels) {
             const float* rows[kTileIn];
             for (int y = 0; y < in; ++y) rows[y] = work->x.get() + y * width;
             kernels.winograd_input(rows, tiles, work->v.get(), tiles * kBlock);
           }},
          {name + "_output" + size, 0.0, [=](const Kernels& kernels) { output(kernels, false); }},
          {name + "_output, add" + size, 0.0,
           [=](const Kernels& kernels) { output(kernels, true); }}};
}

std::vector<Timed> time_elementwise(int n) {
  struct Work {
    Floats x, y, out;
    double sums[kBlock];
  };
  const auto work = std::make_shared<Work>(
      Work{ordinary(n * kBlock), ordinary(n * kBlock), ordinary(n * kBlock), {}});
  const std::string size = ", " + std::to_string(n) + " pixels";
  return {
      {"multiply" + size, 0.0,
       [=](const Kernels& k) { k.multiply(work->x.get(), work->y.get(), work->out.get(), n); }},
      {"add" + size, 0.0,
       [=](const Kernels& k) { k.add(work->x.get(), work->y.get(), work->out.get(), n); }},
      {"affine" + size, 0.0,
       [=](const Kernels& k) { k.affine(work->x.get(), work->y.get(), work->y.get(), work->out.get(), n); }},
      {"silu" + size, 0.0, [=](const Kernels& k) {
         k.pointwise({Function::silu, work->x.get(), nullptr, nullptr, work->out.get(), n});
       }},
      {"tanh, product, sum" + size, 0.0,
       [=](const Kernels& k) {
         k.pointwise({Function::tanh, work->x.get(), work->y.get(), work->x.get(),
                      work->out.get(), n});
       }},
      {"activate" + size, 0.0,
       [=](const Kernels& k) { k.activate(work->x.get(), work->y.get(), work->out.get(), n); }},
      {"sum" + size, 0.0, [=](const Kernels& k) { k.sum(work->x.get(), work->sums, n); }}};
}

// Prints median times of a call; batches alternate between the levels.
void print_times() {
  constexpr int kBatches = 9;
  constexpr double kBatchSeconds = 3e-3;
  std::vector<Timed> all = {time_product(128, 256, 28), time_product(64, 64, 28),
                            time_direct(2, 128, 128, 64),  time_direct(1, 64, 256, 64),
                            time_direct(3, 3, 32, 64)};
  for (std::vector<Timed> more :
       {time_transforms(kTile, 28), time_elementwise(112)}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  const std::vector<Level>& levels = waifu2x::levels();
  std::printf("%-46s %-8s %12s %9s %7s\n", "", "", "ns a call", "GFLOP/s", "scalar");
  for (const Timed& timed : all) {
    std::vector<std::vector<double>> times(levels.size());
    std::vector<int> calls;
    for (const Level& level : levels) {
      timed.run(level.kernels.engine);
      const double once = seconds_of(timed, level.kernels.engine, 1);
      calls.push_back(1 + static_cast<int>(kBatchSeconds / (once + 1e-9)));
    }
    for (int batch = 0; batch < kBatches; ++batch) {
      for (std::size_t i = 0; i < levels.size(); ++i) {
        times[i].push_back(seconds_of(timed, levels[i].kernels.engine, calls[i]) / calls[i]);
      }
    }
    std::vector<double> medians;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      std::sort(times[i].begin(), times[i].end());
      medians.push_back(times[i][kBatches / 2]);
      char rate[16] = "";
      if (timed.operations > 0.0) {
        std::snprintf(rate, sizeof rate, "%.1f", timed.operations / medians[i] * 1e-9);
      }
      std::printf("%-46s %-8s %12.0f %9s %6.2fx\n", i == 0 ? timed.name.c_str() : "",
                  levels[i].name.c_str(), medians[i] * 1e9, rate, medians[0] / medians[i]);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  bool times = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--time") == 0) {
      times = true;
    } else if (std::strcmp(argv[i], "--every") == 0 && i + 1 < argc) {
      every = std::max(1u, static_cast<unsigned>(std::strtoul(argv[++i], nullptr, 10)));
    } else {
      seed = static_cast<unsigned>(std::strtoul(argv[i], nullptr, 10));
    }
  }
  generator.seed(seed);
  name_the_place_of_a_crash();
  if (times) {
    print_times();
    return 0;
  }
  std::printf("seed %u, every %u\n", seed, every);
  std::fflush(stdout);
  check_directs();
  for (const Tile& tile : kTiles) check_winograds(tile);
  for (int n = 0; n <= 20; ++n) {
    for (int repeat = 0; repeat < 10; ++repeat) {
      if (drawn()) check_elementwises(n);
    }
  }
  check_elementwises(1000);

  std::printf("largest error, as a share of what is allowed:\n");
  for (const auto& [where, share] : worst) {
    std::printf("  %-18s %-8s %.3f\n", where.first.c_str(), where.second.c_str(), share);
  }
  const std::vector<Level>& levels = waifu2x::levels();
  for (const Level& level : levels) std::printf("%s ", level.name.c_str());
  std::printf("agree\n");
  return levels.size() > 1 ? 0 : 2;
}
