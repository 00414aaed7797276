#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>

#if WAIFU2X_X86
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace waifu2x {
namespace {

#if WAIFU2X_X86

struct CpuId {
  unsigned eax, ebx, ecx, edx;
};

CpuId cpuid(unsigned leaf) {
#if defined(_MSC_VER)
  int r[4];
  __cpuidex(r, static_cast<int>(leaf), 0);
  return {static_cast<unsigned>(r[0]), static_cast<unsigned>(r[1]), static_cast<unsigned>(r[2]),
          static_cast<unsigned>(r[3])};
#else
  CpuId r = {};
  __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);  // keeps 0 for an unsupported leaf
  return r;
#endif
}

// The register state that the operating system saves (XCR0); requires OSXSAVE.
unsigned saved_registers() {
#if defined(_MSC_VER)
  return static_cast<unsigned>(_xgetbv(0));
#else
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

constexpr bool has_all(unsigned value, unsigned bits) { return (value & bits) == bits; }

// AVX2, FMA and F16C: every CPU with AVX2 also has the others.
bool has_avx2() {
  constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  constexpr unsigned kAvx2 = 1u << 5;
  constexpr unsigned kXmmYmm = 0x6;
  if (cpuid(0).eax < 7 || !has_all(cpuid(1).ecx, kFma | kOsxsave | kAvx | kF16c)) return false;
  return has_all(saved_registers(), kXmmYmm) && has_all(cpuid(7).ebx, kAvx2);
}

// The F, DQ, BW and VL subsets: server and desktop CPUs have all four.
bool has_avx512() {
  constexpr unsigned kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  constexpr unsigned kXmmYmmZmm = 0xE6;
  return has_avx2() && has_all(saved_registers(), kXmmYmmZmm) &&
         has_all(cpuid(7).ebx, kF | kDq | kBw | kVl);
}

void install_avx2(Kernels& kernels) {
  install_gather_avx2(kernels);
  install_blend_avx2(kernels);
  install_feather_avx2(kernels);
  install_color_fix_avx2(kernels);
  install_engine_avx2(kernels);
}

// Keeps the AVX2 tile kernels, which are bound by memory bandwidth.
void install_avx512(Kernels& kernels) { install_engine_avx512(kernels); }

#elif WAIFU2X_ARM

void install_neon(Kernels& kernels) {
  install_gather_neon(kernels);
  install_blend_neon(kernels);
  install_feather_neon(kernels);
  install_engine_neon(kernels);
}

#endif

bool always() { return true; }

void install_scalar(Kernels& kernels) {
  install_gather_scalar(kernels);
  install_blend_scalar(kernels);
  install_feather_scalar(kernels);
  install_bleed_scalar(kernels);
  install_color_fix_scalar(kernels);
  install_engine_scalar(kernels);
}

struct LevelEntry {
  const char* name;
  bool (*available)();
  void (*install)(Kernels&);
};

constexpr LevelEntry kLevels[] = {
    {"scalar", always, install_scalar},
#if WAIFU2X_X86
    {"avx2", has_avx2, install_avx2},
    {"avx512", has_avx512, install_avx512},
#elif WAIFU2X_ARM
    {"neon", always, install_neon},
#endif
};

template <class Range>
std::string names_of(const Range& range) {
  std::string names;
  for (const auto& item : range) {
    if (!names.empty()) names += ", ";
    names += item.name;
  }
  return names;
}

// The highest allowed level, or an empty string.
std::string cap_from_environment() {
  const char* value = std::getenv("WAIFU2X_CPU");
  const std::string cap = value == nullptr ? "" : value;
  if (cap.empty()) return cap;
  for (const LevelEntry& entry : kLevels) {
    if (cap == entry.name) return cap;
  }
  std::vector<LevelEntry> available;
  for (const LevelEntry& entry : kLevels) {
    if (!entry.available()) break;
    available.push_back(entry);
  }
  throw std::invalid_argument("WAIFU2X_CPU is '" + cap + "'; on this CPU it may be " +
                              names_of(available) + ", or unset for the fastest");
}

std::vector<Level> detect_levels() {
  const std::string cap = cap_from_environment();
  std::vector<Level> detected;
  Kernels kernels = {};
  for (const LevelEntry& entry : kLevels) {
    if (!entry.available()) break;
    entry.install(kernels);
    detected.push_back({entry.name, kernels});
    if (cap == entry.name) break;
  }
  return detected;
}

}  // namespace

const std::vector<Level>& levels() {
  static const std::vector<Level> usable = detect_levels();
  return usable;
}

const Level& best_level() { return levels().back(); }

const Level& level(std::string_view name) {
  for (const Level& candidate : levels()) {
    if (candidate.name == name) return candidate;
  }
  throw std::invalid_argument("isa is '" + std::string(name) + "'; usable here: " +
                              names_of(levels()));
}

}  // namespace waifu2x
