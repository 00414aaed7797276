// Emulates the subset of CUDA that csrc/cuda uses. The kernels compile as C++ with this header in
// place of the toolkit's, which tests their index arithmetic and rounding on machines without a
// GPU. Each thread of a block is a fiber; a barrier switches to the next fiber. Does not detect
// races between blocks: use compute-sanitizer on a GPU.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __grid_constant__
#define __align__(n) alignas(n)
// One block runs at a time, so shared memory can be static.
#define __shared__ static

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };
inline const char* cudaGetErrorString(cudaError_t) { return "error of the emulator"; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrMultiProcessorCount };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? 2 : 9;
  return cudaSuccess;
}
template <class F>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, F, int, std::size_t) {
  *blocks = 1;
  return cudaSuccess;
}
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize,
  cudaFuncAttributePreferredSharedMemoryCarveout
};
constexpr int cudaSharedmemCarveoutMaxShared = 100;
template <class F>
cudaError_t cudaFuncSetAttribute(F, cudaFuncAttribute, int) { return cudaSuccess; }

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace emulator {

enum class State { kReady, kAtBlock, kAtWarp, kDone };

struct Copy { void* to; const void* from; int bytes; int zeros; };

// Started once by a ucontext and switched by _setjmp and _longjmp from then on: swapcontext makes
// two system calls, which took most of the time.
struct Fiber {
  jmp_buf context;
  bool started = false;
  std::unique_ptr<char[]> stack{new char[kStack]};
  uint3 thread{};
  State state = State::kReady;
  // cp.async: committed groups, and copies not committed yet. Copies complete when waited for.
  std::deque<std::vector<Copy>> groups;
  std::vector<Copy> loose;
  unsigned exchanges = 0;  // counts give(), which alternates between two sets of slots
  static constexpr std::size_t kStack = 128 << 10;
};

// Scheduling order. kThreads runs each thread to its next barrier in turn, and asynchronous copies
// complete when waited for. The others run each warp as far as possible, and copies complete at
// once.
enum class Order { kThreads, kWarpsForward, kWarpsBackward };

inline Order chosen_order() {
  const char* name = std::getenv("WAIFU2X_EMULATOR_ORDER");
  if (name == nullptr || *name == 0) return Order::kThreads;
  return std::strcmp(name, "backward") == 0 ? Order::kWarpsBackward : Order::kWarpsForward;
}

struct Machine {
  Order order = Order::kThreads;
  std::vector<Fiber> fibers;
  jmp_buf scheduler;
  std::mutex lock;  // held by a launch
  std::size_t current = 0;
  void (*body)(const void*) = nullptr;
  const void* argument = nullptr;
  std::vector<unsigned char> shared;
  alignas(64) unsigned char slots[2][32][32][64];  // values exchanged by the lanes of a warp
};

inline Machine& machine() {
  static Machine the;
  return the;
}
inline Fiber& fiber() { return machine().fibers[machine().current]; }
inline unsigned lane() { return machine().current % 32; }

inline void pause(State state) {
  Machine& m = machine();
  Fiber& f = m.fibers[m.current];
  f.state = state;
  if (_setjmp(f.context) == 0) _longjmp(m.scheduler, 1);
}

inline void entry() {
  for (;;) {
    machine().body(machine().argument);
    pause(State::kDone);  // until the next block
  }
}

// Runs a fiber to its next barrier.
inline void resume(Fiber& f) {
  Machine& m = machine();
  if (_setjmp(m.scheduler) != 0) return;
  if (f.started) _longjmp(f.context, 1);
  f.started = true;
  ucontext_t start;
  getcontext(&start);
  start.uc_stack.ss_sp = f.stack.get();
  start.uc_stack.ss_size = Fiber::kStack;
  start.uc_link = nullptr;
  makecontext(&start, entry, 0);
  setcontext(&start);
}

inline bool release(std::size_t first, std::size_t last, State state) {
  Machine& m = machine();
  bool any = false;
  for (std::size_t i = first; i < last; ++i) {
    if (m.fibers[i].state == State::kDone) continue;
    if (m.fibers[i].state != state) return false;
    any = true;
  }
  for (std::size_t i = first; any && i < last; ++i) {
    if (m.fibers[i].state == state) m.fibers[i].state = State::kReady;
  }
  return any;
}

// Runs the ready threads of a range, each to its next barrier; returns whether any was ready.
inline bool run_ready(std::size_t first, std::size_t last) {
  Machine& m = machine();
  bool ran = false;
  for (std::size_t i = first; i < last; ++i) {
    if (m.fibers[i].state != State::kReady) continue;
    m.current = i;
    threadIdx = m.fibers[i].thread;
    resume(m.fibers[i]);
    ran = true;
  }
  return ran;
}

inline void run_block(std::size_t threads) {
  Machine& m = machine();
  if (m.fibers.size() < threads) m.fibers.resize(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    Fiber& f = m.fibers[i];
    f.state = State::kReady;
    f.groups.clear();
    f.loose.clear();
    f.exchanges = 0;
    f.thread = {static_cast<unsigned>(i % blockDim.x),
                static_cast<unsigned>(i / blockDim.x % blockDim.y),
                static_cast<unsigned>(i / blockDim.x / blockDim.y)};
  }
  for (;;) {
    bool ran = false, left = false;
    if (m.order == Order::kThreads) {
      ran = run_ready(0, threads);
    } else {
      // Runs each warp up to a block barrier. Warps far apart in progress expose missing barriers.
      const std::size_t warps = (threads + 31) / 32;
      for (std::size_t i = 0; i < warps; ++i) {
        const std::size_t warp = m.order == Order::kWarpsBackward ? warps - 1 - i : i;
        const std::size_t first = warp * 32, last = std::min(first + 32, threads);
        while (run_ready(first, last) || release(first, last, State::kAtWarp)) ran = true;
      }
    }
    for (std::size_t i = 0; i < threads; ++i) left |= m.fibers[i].state != State::kDone;
    if (!left) return;
    bool freed = release(0, threads, State::kAtBlock);
    for (std::size_t warp = 0; warp < threads; warp += 32) {
      freed |= release(warp, std::min(warp + 32, threads), State::kAtWarp);
    }
    if (!ran && !freed) {
      std::fprintf(stderr, "cuda emulator: deadlock among the threads of a block\n");
      std::abort();
    }
  }
}

// Exchanges values between the lanes of a warp; all lanes must call give(). The slots stay as they
// are until the next give() but one.
template <class T>
const T& from_lane(unsigned source) {
  Machine& m = machine();
  const unsigned set = m.fibers[m.current].exchanges % 2;
  return *reinterpret_cast<const T*>(m.slots[set][m.current / 32][source % 32]);
}
template <class T>
void give(const T& value) {
  static_assert(sizeof(T) <= 64);
  Machine& m = machine();
  const unsigned set = ++fiber().exchanges % 2;
  std::memcpy(m.slots[set][m.current / 32][lane()], &value, sizeof(T));
  pause(State::kAtWarp);
}

// --- cp.async: copies complete when their group is waited for, not before

inline void copy_async(void* to, const void* from, int bytes, int valid) {
  if (machine().order == Order::kThreads) {
    fiber().loose.push_back({to, from, valid, bytes - valid});
  } else {
    std::memcpy(to, from, static_cast<std::size_t>(valid));
    std::memset(static_cast<char*>(to) + valid, 0, static_cast<std::size_t>(bytes - valid));
  }
}
inline void commit() {
  fiber().groups.push_back(std::move(fiber().loose));
  fiber().loose.clear();
}
inline void wait(std::size_t left) {
  auto& groups = fiber().groups;
  while (groups.size() > left) {
    for (const Copy& copy : groups.front()) {
      std::memcpy(copy.to, copy.from, static_cast<std::size_t>(copy.bytes));
      std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, static_cast<std::size_t>(copy.zeros));
    }
    groups.pop_front();
  }
}

// --- tensor cores; register layouts as in the PTX manual, "Matrix fragments"

// Loads four 8x8 matrices of 16-bit values; lane i passes the address of row i % 8 of matrix i / 8.
inline void load_matrices(std::uint32_t (&out)[4], const void* row, bool transposed) {
  give(row);
  const unsigned me = lane();
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    std::uint16_t pair[2];
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned r = transposed ? me % 4 * 2 + i : me / 4;
      const unsigned c = transposed ? me / 4 : me % 4 * 2 + i;
      const char* from = static_cast<const char*>(from_lane<const void*>(8 * matrix + r));
      std::memcpy(&pair[i], from + 2 * c, 2);
    }
    std::memcpy(&out[matrix], pair, 4);
  }
  pause(State::kAtWarp);  // no lane overwrites the matrices before all lanes have read them
}

// d += a (16x16) * b (16x8) in float.
template <class T>
void multiply_accumulate(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  struct alignas(64) Registers { float a[4][2], b[2][2]; };
  const auto halves = [](std::uint32_t word, float (&out)[2]) {
    T pair[2];
    std::memcpy(pair, &word, 4);
    for (unsigned i = 0; i < 2; ++i) out[i] = static_cast<float>(pair[i]);
  };
  Registers mine;
  for (unsigned i = 0; i < 4; ++i) halves(a[i], mine.a[i]);
  for (unsigned i = 0; i < 2; ++i) halves(b[i], mine.b[i]);
  give(mine);
  const unsigned me = lane();
  const Registers* const lanes = &from_lane<Registers>(0);
  for (unsigned i = 0; i < 4; ++i) {
    const Registers* const rows = lanes + me / 4 * 4;
    const Registers* const columns = lanes + (me % 4 * 2 + i % 2) * 4;
    float sum = d[i];
    for (unsigned k = 0; k < 16; ++k) {
      const unsigned t = k % 8 / 2;
      sum += rows[t].a[i / 2 + 2 * (k / 8)][k % 2] * columns[t].b[k / 8][k % 2];
    }
    d[i] = sum;
  }
}

}  // namespace emulator

inline void __syncthreads() { emulator::pause(emulator::State::kAtBlock); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulator::pause(emulator::State::kAtWarp); }

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  emulator::give(value);
  return emulator::from_lane<T>(emulator::lane() ^ static_cast<unsigned>(mask));
}
inline int __reduce_max_sync(unsigned, int value) {
  for (int mask = 16; mask; mask /= 2) value = std::max(value, __shfl_xor_sync(~0u, value, mask));
  return value;
}
inline int __reduce_add_sync(unsigned, int value) {
  for (int mask = 16; mask; mask /= 2) value += __shfl_xor_sync(~0u, value, mask);
  return value;
}

// One block at a time, one thread at a time: an atomic operation is a plain one.
template <class T>
T atomicAdd(T* at, T value) { const T old = *at; *at = old + value; return old; }
template <class T>
T atomicMax(T* at, T value) { const T old = *at; *at = std::max(old, value); return old; }

template <class T>
T __ldg(const T* at) { return *at; }
template <class T>
void __stwb(T* at, T value) { *at = value; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { volatile float c = a * b; return c; }
inline float __fadd_rn(float a, float b) { volatile float c = a + b; return c; }
inline float __fsub_rn(float a, float b) { volatile float c = a - b; return c; }
inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31));
}
inline unsigned __float_as_uint(float v) { unsigned u; std::memcpy(&u, &v, 4); return u; }
inline int __float_as_int(float v) { int u; std::memcpy(&u, &v, 4); return u; }
inline float __int_as_float(int v) { float u; std::memcpy(&u, &v, 4); return u; }
using std::isfinite;
using std::max;
using std::min;

struct __half {
  _Float16 v;
  __half() = default;
  explicit __half(float f) : v(static_cast<_Float16>(f)) {}
  explicit operator float() const { return static_cast<float>(v); }
};
struct __nv_bfloat16 {
  std::uint16_t v;
  __nv_bfloat16() = default;
  explicit __nv_bfloat16(float f) {
    std::uint32_t u;
    std::memcpy(&u, &f, 4);
    // Rounds to nearest even; NaN stays NaN.
    v = std::isnan(f) ? 0x7fff : static_cast<std::uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  explicit operator float() const {
    const std::uint32_t u = static_cast<std::uint32_t>(v) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
  }
};
inline float __half2float(__half h) { return static_cast<float>(h); }
inline __half __float2half_rn(float f) { return __half(f); }
inline float __bfloat162float(__nv_bfloat16 h) { return static_cast<float>(h); }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __nv_bfloat16(f); }

namespace emulator {

template <class... P, std::size_t... I>
void call(void (*kernel)(P...), std::tuple<P...>& arguments, std::index_sequence<I...>) {
  kernel(std::get<I>(arguments)...);
}

template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared, P... arguments) {
  struct Call { void (*kernel)(P...); std::tuple<P...> arguments; };
  Call call{kernel, {arguments...}};
  Machine& m = machine();
  const std::lock_guard<std::mutex> guard(m.lock);
  m.shared.assign(shared + 64, 0xff);  // NaN until written
  m.body = [](const void* argument) {
    Call& c = *static_cast<Call*>(const_cast<void*>(argument));
    emulator::call(c.kernel, c.arguments, std::index_sequence_for<P...>{});
  };
  m.argument = &call;
  m.order = chosen_order();
  gridDim = grid;
  blockDim = block;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || grid.y > 65535 || grid.z > 65535 || grid.x == 0 ||
      grid.y == 0 || grid.z == 0 || shared > (227 << 10)) {
    return cudaErrorInvalidConfiguration;
  }
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) run_block(threads);
  return cudaSuccess;
}

inline void* dynamic_shared() {
  Machine& m = machine();
  const auto address = reinterpret_cast<std::uintptr_t>(m.shared.data());
  return reinterpret_cast<void*>((address + 63) & ~std::uintptr_t{63});
}

}  // namespace emulator
