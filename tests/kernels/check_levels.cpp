// Compares the row kernels of each level with the scalar kernels bit for bit. A program without
// Python, for emulators and sanitizers; test_cross.py runs it under qemu.
//
//   g++ -std=c++17 -O2 -ffp-contract=off -Icsrc -fsanitize=address,undefined
//       tests/kernels/check_levels.cpp csrc/dispatch.cpp csrc/scalar/*.cpp csrc/x86/*.cpp
//       csrc/arm/*.cpp -o check_levels && ./check_levels [seed]
//
// Exits with 0 if all agree, with 1 at the first difference, after printing the case and the seed,
// and with 2 if the CPU supports only the scalar level, so nothing was compared.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "dispatch.h"

namespace {

using waifu2x::Kernels;
using waifu2x::Level;
using waifu2x::SampleKernels;

constexpr std::size_t kLongest = 70;
constexpr std::size_t kGuard = 32;

unsigned seed = 1;
std::mt19937 generator;
std::string place;

// Exactly n elements on the heap, so that a sanitizer detects accesses outside.
template <class T>
class Row {
 public:
  explicit Row(std::size_t n) : data_(new T[n]()) {}
  T* get() const { return data_.get(); }
  T& operator[](std::size_t i) const { return data_[i]; }

 private:
  std::unique_ptr<T[]> data_;
};

float random_float() {
  static const float kSpecial[] = {0.0f,
                                   -0.0f,
                                   1.0f,
                                   -1.0f,
                                   2.0f,
                                   1e-45f,
                                   3.4e38f,
                                   -3.4e38f,
                                   std::numeric_limits<float>::infinity(),
                                   -std::numeric_limits<float>::infinity(),
                                   std::numeric_limits<float>::quiet_NaN()};
  if (generator() % 8 == 0) return kSpecial[generator() % (sizeof kSpecial / sizeof *kSpecial)];
  if (generator() % 8 == 0) return (static_cast<float>(generator() % 65535) + 0.5f) / 65535.0f;
  return std::normal_distribution<float>(0.5f, 0.5f)(generator);
}

template <class T>
T random_sample() {
  return static_cast<T>(generator());
}
template <>
float random_sample<float>() {
  return random_float();
}

template <class T>
Row<T> random_row(std::size_t n) {
  Row<T> row(n);
  for (std::size_t i = 0; i < n; ++i) row[i] = random_sample<T>();
  return row;
}

// Two equal destinations with guard zones, for the scalar kernel and for the tested level.
template <class T>
class Pair {
 public:
  explicit Pair(std::size_t n) : scalar_(n + 2 * kGuard), level_(n + 2 * kGuard) {
    for (std::size_t i = 0; i < scalar_.size(); ++i) level_[i] = scalar_[i] = random_sample<T>();
  }
  T* scalar() { return scalar_.data() + kGuard; }
  T* level() { return level_.data() + kGuard; }

  // Requires the same bits, including the guard zones; for sums, any two NaNs are equal.
  void check(bool any_nan = false) const {
    for (std::size_t i = 0; i < scalar_.size(); ++i) {
      if (std::memcmp(&scalar_[i], &level_[i], sizeof(T)) == 0) continue;
      if (any_nan && scalar_[i] != scalar_[i] && level_[i] != level_[i]) continue;
      std::printf("%s: element %td is %.9g, scalar returns %.9g (seed %u)\n", place.c_str(),
                  static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(kGuard),
                  static_cast<double>(level_[i]), static_cast<double>(scalar_[i]), seed);
      std::exit(1);
    }
  }

 private:
  std::vector<T> scalar_;
  std::vector<T> level_;
};

void check_count(std::size_t scalar, std::size_t level) {
  if (scalar == level) return;
  std::printf("%s: %zu samples are not finite, scalar counts %zu (seed %u)\n", place.c_str(),
              level, scalar, seed);
  std::exit(1);
}

template <class T>
void check_samples(const SampleKernels<T>& scalar, const SampleKernels<T>& level, std::size_t n) {
  const Row<T> src = random_row<T>(3 * n);
  {
    Pair<float> r(n), g(n), b(n), gray(n);
    scalar.gather_rgb(src.get(), r.scalar(), g.scalar(), b.scalar(), n);
    level.gather_rgb(src.get(), r.level(), g.level(), b.level(), n);
    r.check();
    g.check();
    b.check();
    scalar.gather_gray(src.get(), gray.scalar(), n);
    level.gather_gray(src.get(), gray.level(), n);
    gray.check();
  }
  const Row<float> r = random_row<float>(n), g = random_row<float>(n), b = random_row<float>(n);
  Pair<T> rgb(3 * n), gray(n), flat(n);
  check_count(scalar.blend_rgb(r.get(), g.get(), b.get(), rgb.scalar(), n),
              level.blend_rgb(r.get(), g.get(), b.get(), rgb.level(), n));
  rgb.check();
  check_count(scalar.blend_gray(r.get(), g.get(), b.get(), gray.scalar(), n),
              level.blend_gray(r.get(), g.get(), b.get(), gray.level(), n));
  gray.check();
  check_count(scalar.quantize(r.get(), flat.scalar(), n), level.quantize(r.get(), flat.level(), n));
  flat.check();
}

void check_feather(const Kernels& scalar, const Kernels& level, std::size_t n) {
  const Row<float> r = random_row<float>(n), g = random_row<float>(n), b = random_row<float>(n);
  const Row<float> wx = random_row<float>(n);
  const float wy = random_float();
  Pair<float> rgb(3 * n), gray(n);
  scalar.feather_rgb(r.get(), g.get(), b.get(), wx.get(), wy, rgb.scalar(), n);
  level.feather_rgb(r.get(), g.get(), b.get(), wx.get(), wy, rgb.level(), n);
  rgb.check(true);
  scalar.feather_gray(r.get(), g.get(), b.get(), wx.get(), wy, gray.scalar(), n);
  level.feather_gray(r.get(), g.get(), b.get(), wx.get(), wy, gray.level(), n);
  gray.check(true);
}

// Checks every integer sample.
template <class T>
void check_every_sample(const SampleKernels<T>& scalar, const SampleKernels<T>& level) {
  constexpr std::size_t kCount = std::size_t{std::numeric_limits<T>::max()} + 1;
  std::vector<T> src(kCount);
  for (std::size_t i = 0; i < kCount; ++i) src[i] = static_cast<T>(i);
  Pair<float> unit(kCount);
  scalar.gather_gray(src.data(), unit.scalar(), kCount);
  level.gather_gray(src.data(), unit.level(), kCount);
  unit.check();
  Pair<T> again(kCount);
  check_count(0, level.quantize(unit.level(), again.level(), kCount));
  if (std::memcmp(again.level(), src.data(), kCount * sizeof(T)) != 0) {
    std::printf("%s: samples do not make the round trip\n", place.c_str());
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) seed = static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10));
  generator.seed(seed);
  const std::vector<Level>& levels = waifu2x::levels();
  const Kernels& scalar = levels.front().kernels;
  for (const Level& level : levels) {
    place = level.name;
    check_every_sample(scalar.u8, level.kernels.u8);
    check_every_sample(scalar.u16, level.kernels.u16);
    for (std::size_t n = 0; n <= kLongest; ++n) {
      const auto at = [&](const char* type) {
        place = level.name + ", " + type + ", row of " + std::to_string(n);
      };
      for (int repeat = 0; repeat < 8; ++repeat) {
        at("uint8");
        check_samples(scalar.u8, level.kernels.u8, n);
        at("uint16");
        check_samples(scalar.u16, level.kernels.u16, n);
        at("float32");
        check_samples(scalar.f32, level.kernels.f32, n);
        at("feather");
        check_feather(scalar, level.kernels, n);
      }
    }
  }
  for (const Level& level : levels) std::printf("%s ", level.name.c_str());
  std::printf("agree\n");
  return levels.size() > 1 ? 0 : 2;
}
