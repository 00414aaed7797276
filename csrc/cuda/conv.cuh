// The convolution kernel: an implicit GEMM over the pixels of a patch.
//
// Input channels are processed in chunks of kDepth. The patch of a chunk, with the halo of the
// taps, is loaded to shared memory once; each tap reads it with an offset. The weights of a tap
// form a stage; stages stream through a ring buffer of kStages. The summation order is the same for
// every pixel: by chunk, then by tap. A tile is a patch and kN output channels. Blocks are
// persistent and iterate over tiles; loads for the next tile overlap the output of the current
// tile.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>

#include "conv.h"
#include "mma.h"

namespace waifu2x::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kStages = 4;
constexpr int kTransposedPixels = 8;
static_assert(kPatch == 16, "a row of a patch is the rows of one matrix");

template <int kN, int kDepth>
struct Shape {
  static constexpr int kWarpN = kN < 64 ? kN : 64;
  static constexpr int kWarpsN = kN / kWarpN;
  static constexpr int kRows = kPatch * kWarpsN / kWarps;  // of the patch, per warp
  static constexpr int kPairs = kWarpN / 16;               // pairs of eight channels
  static constexpr int kSteps = kDepth / 16;
  // If registers allow, the operands of a step are loaded during the previous step, even across
  // stages. Otherwise a second resident block hides the latency.
  static constexpr bool kPrefetch = kN == 128;
  static constexpr int kPreloaded = kPrefetch ? kSteps : 1;  // steps with operands in registers
  static constexpr bool kManyTaps = kN == 128;  // ensured by `convolve`
  // Resident blocks per multiprocessor, limited by registers.
  static constexpr int kBlocks = kN == 128 ? 1 : kN == 16 || kDepth == 16 ? 3 : 2;
  // In bytes. Odd multiples of 16 as pitches spread eight rows of a matrix over all banks.
  static constexpr int kPixelPitch = kDepth * 2 + 16;
  static constexpr int kWeightPitch = kN * 2 + 16;
  static constexpr int kStageBytes = kDepth * kWeightPitch;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kVectors = kDepth / 8;
  // A warp transposes and writes the results of kTransposedPixels pixels at a time. In floats; the
  // pitch avoids bank conflicts when each lane stores two floats.
  static constexpr int kTransposedPitch = kWarpN + 8;
  static constexpr int kTransposedFloats = kTransposedPixels * kTransposedPitch;

  static constexpr int patch_bytes(int kernel) {
    return (kPatch + kernel - 1) * (kPatch + kernel - 1) * kPixelPitch;
  }
  static constexpr int shared_bytes(int kernel) { return kRingBytes + 2 * patch_bytes(kernel); }
  static_assert(shared_bytes(kMaxKernel) <= 99 << 10);
  static_assert(kWarps * kTransposedFloats * 4 <= patch_bytes(1),
                "the transposed results must fit in a patch");
};

// Derived parameters of a launch; precomputed here to save registers.
struct Grid {
  std::int64_t src_item;  // elements of a batch item
  std::int64_t addend_item;
  std::int64_t dst_item;
  bool wide;  // eight channels of dst and addend take one or two accesses
  int chunks;
  int taps;
  int side;  // of a patch with halo
  int row_bytes;
  int patch_bytes;
  int load_rows;  // rows of a patch that the block loads at a time
  std::int64_t load_step;  // elements of src between consecutive rows of a thread
  unsigned patches_x;
  unsigned patches_y;
  unsigned blocks_n;
  unsigned tiles;
  int tap_offsets[kMaxKernel * kMaxKernel];  // in shared memory, in bytes
};

struct Tile {
  int y;
  int x;
  int batch_item;

  // Tiles of a patch are consecutive, so that all but the first find it in the L2 cache.
  __device__ __forceinline__ Tile(const Grid& grid, unsigned index) {
    const unsigned patch = index / grid.blocks_n;
    const unsigned row = patch / grid.patches_x;
    batch_item = static_cast<int>(row / grid.patches_y);
    y = static_cast<int>(row % grid.patches_y) * kPatch;
    x = static_cast<int>(patch % grid.patches_x) * kPatch;
  }
};

template <int kCount>
struct Floats {
  float v[kCount];
};

// Loads kCount elements as floats: one, or eight from an address that is a multiple of 16.
template <int kCount, class E>
__device__ __forceinline__ Floats<kCount> load_floats(const E* from) {
  static_assert(kCount == 1 || kCount == 8);
  Floats<kCount> out;
  if constexpr (kCount == 1) {
    out.v[0] = to_float(*from);
  } else {
    constexpr int kVectors = sizeof(E) / 2;
    uint4 packed[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) packed[i] = reinterpret_cast<const uint4*>(from)[i];
    E values[8];
    std::memcpy(values, packed, sizeof values);
#pragma unroll
    for (int i = 0; i < 8; ++i) out.v[i] = to_float(values[i]);
  }
  return out;
}

template <int kCount, class E>
__device__ __forceinline__ void store_floats(E* to, const Floats<kCount>& floats) {
  if constexpr (kCount == 1) {
    *to = from_float<E>(floats.v[0]);
  } else {
    constexpr int kVectors = sizeof(E) / 2;
    E values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = from_float<E>(floats.v[i]);
    uint4 packed[kVectors];
    std::memcpy(packed, values, sizeof values);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) reinterpret_cast<uint4*>(to)[i] = packed[i];
  }
}

// The results of kTransposedPixels pixels, ready to be written by a warp.
struct OutputRun {
  const float* from;  // [pixel][channel of the convolution]
  int pitch;
  int batch_item;
  int y;  // before the shuffle
  int x;
  int channel;       // the first, of dst
  int per_pixel;     // lanes per pixel
  float reciprocal;  // of per_pixel
};

// Called by all lanes of a warp; each lane writes kCount channels of a pixel.
template <int kCount, class T>
__device__ __forceinline__ void write_outputs(const Convolution& task, const Grid& grid,
                                              const OutputRun& run, int lane) {
  const int log = task.shuffle - 1;
  const int items = (kTransposedPixels << 2 * log) * run.per_pixel;
#pragma unroll 1
  for (int item = lane; item < items; item += 32) {
    // Exact: the quotient is at least half of the reciprocal away from an integer.
    const int position = static_cast<int>((static_cast<float>(item) + 0.5f) * run.reciprocal);
    const int offset = (item - position * run.per_pixel) * kCount;
    const int below = position >> (3 + log);
    const int across = position & ((kTransposedPixels << log) - 1);
    const int y = (run.y << log) + below - task.crop;
    const int x = (run.x << log) + across - task.crop;
    // Pixels of the patch outside the picture are outside dst as well.
    if (y < 0 || y >= task.dst_height || x < 0 || x >= task.dst_width) continue;

    const int channel = run.channel + offset;
    const float* from = run.from + (across >> log) * run.pitch + (offset << 2 * log) +
                        (below << log) + (across & log);
    Floats<kCount> floats;
    if (kCount == 8 && log == 0 && channel < task.dst_channels) {
      floats = load_floats<kCount>(from);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        floats.v[i] = channel + i < task.dst_channels ? from[i << 2 * log] : 0.0f;
      }
    }
    if (task.addend != nullptr && channel < task.dst_channels) {
      const int at = ((y + task.addend_crop) * task.addend_width + x + task.addend_crop) *
                         task.addend_pixel +
                     channel;
      const std::int64_t index = run.batch_item * grid.addend_item + at;
      const Floats<kCount> more =
          task.addend_float
              ? load_floats<kCount>(static_cast<const float*>(task.addend) + index)
              : load_floats<kCount>(static_cast<const T*>(task.addend) + index);
#pragma unroll
      for (int i = 0; i < kCount; ++i) floats.v[i] += more.v[i];
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (channel + i >= task.dst_channels) floats.v[i] = 0.0f;
    }
    const int at = (y * task.dst_width + x) * task.dst_pixel + channel;
    const std::int64_t index = run.batch_item * grid.dst_item + at;
    if (task.dst_float) {
      store_floats(static_cast<float*>(task.dst) + index, floats);
    } else {
      store_floats(static_cast<T*>(task.dst) + index, floats);
    }
  }
}

// The operands of a step: 16 input channels of a tap.
template <class S>
struct Operands {
  std::uint32_t pixels[S::kRows][4];
  std::uint32_t weights[S::kPairs][4];

  __device__ __forceinline__ void load(Shared pixel, int row_bytes, Shared weight, int step) {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) load_matrices(pixels[i], pixel + i * row_bytes + step * 32);
#pragma unroll
    for (int i = 0; i < S::kPairs; ++i) {
      load_transposed(weights[i], weight + step * 16 * S::kWeightPitch + i * 32);
    }
  }

  template <class T>
  __device__ __forceinline__ void multiply(float (&sums)[S::kRows][S::kPairs * 2][4]) const {
#pragma unroll
    for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
      for (int j = 0; j < S::kPairs * 2; ++j) {
        multiply_accumulate<T>(sums[i][j], pixels[i], weights[j / 2][j % 2 * 2],
                               weights[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
};

// __grid_constant__ lets the kernel index the table in parameter memory instead of a stack copy.
template <class T, int kN, int kDepth>
__global__ void __launch_bounds__(kThreads, (Shape<kN, kDepth>::kBlocks))
    convolution_kernel(const Convolution task, const __grid_constant__ Grid grid) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using S = Shape<kN, kDepth>;
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp_m = thread / 32 / S::kWarpsN;
  const int warp_n = thread / 32 % S::kWarpsN;

  unsigned char* const memory = dynamic_shared();
  const Shared ring = shared_address(memory);
  const Shared patches = ring + S::kRingBytes;

  // --- loads the patches of all chunks of all tiles in order, double-buffered

  // A thread loads one column, and every load_rows-th row.
  const int patch_row = thread / (grid.side * S::kVectors);
  const int patch_column = thread / S::kVectors % grid.side;
  const int patch_vector = thread % S::kVectors;
  const T* const src = static_cast<const T*>(task.src);
  const T* patch_from = src;
  int patch_height = 0;  // rows of the picture from the first row of this thread
  unsigned patch_tile = blockIdx.x;
  int patch_chunk = 0;
  const auto load_patch = [&](int buffer) {
    if (patch_tile >= grid.tiles) return;
    if (patch_chunk == 0) {
      const Tile tile(grid, patch_tile);
      const int y = tile.y + patch_row;
      const int x = tile.x + patch_column;
      const bool inside = y < task.src_height && x < task.src_width && patch_row < grid.load_rows;
      patch_height = inside ? task.src_height - y : 0;
      patch_from = src + tile.batch_item * grid.src_item +
                   (inside ? (y * task.src_width + x) * task.src_pixel + patch_vector * 8 : 0);
    }
    if (patch_row < grid.load_rows) {
      Shared to = patches + buffer * grid.patch_bytes + patch_row * grid.row_bytes +
                  patch_column * S::kPixelPitch + patch_vector * 16;
      const T* from = patch_from;
#pragma unroll 1
      for (int y = 0; y < grid.side - patch_row; y += grid.load_rows) {
        const bool inside = y < patch_height;
        copy_async(to, inside ? from : src, inside);
        to += grid.load_rows * grid.row_bytes;
        from += grid.load_step;
      }
    }
    patch_from += kDepth;
    if (++patch_chunk == grid.chunks) {
      patch_chunk = 0;
      patch_tile += gridDim.x;
    }
  };

  // --- loads the weights of all stages of all tiles in order

  constexpr int kWeightVectors = kN / 8;
  constexpr int kWeightRows = kThreads / kWeightVectors;
  const int weight_row = thread / kWeightVectors;
  const int weight_column = thread % kWeightVectors * 8;
  unsigned weight_tile = blockIdx.x;
  int weight_first = static_cast<int>(weight_tile % grid.blocks_n) * kN + weight_column;
  int weight_chunk = 0;
  int weight_tap = 0;
  const auto load_weights = [&](unsigned slot) {
    if (weight_tile < grid.tiles) {
      const int row = weight_tap * task.channels_in + weight_chunk * kDepth + weight_row;
      const bool inside = weight_first < task.channels_out;
      const T* from = static_cast<const T*>(task.weight) +
                      (inside ? row * task.channels_out + weight_first : 0);
      const Shared to = ring + slot * S::kStageBytes + weight_row * S::kWeightPitch +
                        weight_column * 2;
#pragma unroll
      for (int below = 0; below < kDepth; below += kWeightRows) {
        if (kDepth % kWeightRows == 0 || weight_row < kDepth) {
          copy_async(to + below * S::kWeightPitch, from, inside);
        }
        if (inside) from += kWeightRows * task.channels_out;
      }
      if (++weight_tap == grid.taps) {
        weight_tap = 0;
        if (++weight_chunk == grid.chunks) {
          weight_chunk = 0;
          weight_tile += gridDim.x;
          weight_first = static_cast<int>(weight_tile % grid.blocks_n) * kN + weight_column;
        }
      }
    }
    commit_copies();
  };

  // Each load of weights commits a group, so a stage is complete when at most kStages - 2 groups
  // are pending. The patch of a chunk belongs to the group committed in the first stage of the
  // previous chunk.
  const auto wait_for_stage = [&] {
    if (S::kManyTaps || grid.taps >= kStages - 1) {
      wait_for_copies<kStages - 2>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();
  };

  load_patch(0);
#pragma unroll
  for (unsigned slot = 0; slot < kStages - 1; ++slot) load_weights(slot);

  // --- addresses that this lane passes to load_matrices

  const Shared pixel_base =
      patches + (warp_m * S::kRows * grid.side + lane % 16) * S::kPixelPitch + lane / 16 * 16;
  const Shared weight_base =
      ring + lane % 16 * S::kWeightPitch + lane / 16 * 16 + warp_n * S::kWarpN * 2;
  int buffer = 0;
  unsigned slot = 0;
  int tap = 0;
  Operands<S> operands[S::kPreloaded];
  const auto load_operands = [&](int k) {
    operands[k % S::kPreloaded].load(pixel_base + buffer * grid.patch_bytes + grid.tap_offsets[tap],
                                grid.row_bytes, weight_base + slot * S::kStageBytes, k);
  };

  if constexpr (S::kPrefetch) wait_for_stage();
  for (unsigned index = blockIdx.x; index < grid.tiles; index += gridDim.x) {
    float sums[S::kRows][S::kPairs * 2][4] = {};
    if constexpr (S::kPrefetch) load_operands(0);
    for (int stage = grid.chunks * grid.taps; stage > 0; --stage) {
      if constexpr (!S::kPrefetch) {
        wait_for_stage();
        load_operands(0);
      }
#pragma unroll
      for (int k = 1; k < S::kPreloaded; ++k) load_operands(k);
      // Overwrites the previous chunk and the previous stage, which all warps have read.
      if (tap == 0) load_patch(buffer ^ 1);
      load_weights((slot + kStages - 1) % kStages);
#pragma unroll
      for (int k = 0; k < S::kSteps; ++k) {
        if (k >= S::kPreloaded) load_operands(k);
        if (k + 1 == S::kSteps) {
          slot = (slot + 1) % kStages;
          if (++tap == grid.taps) {
            tap = 0;
            buffer ^= 1;
          }
          if constexpr (S::kPrefetch) {
            // Unused after the last stage of a tile.
            wait_for_stage();
            load_operands(0);
          }
        }
        operands[k % S::kPreloaded].template multiply<T>(sums);
      }
    }

    // --- each warp transposes its results in its part of the consumed patch

    if constexpr (!S::kPrefetch) __syncthreads();
    const Tile tile(grid, index);
    const int first = static_cast<int>(index % grid.blocks_n) * kN + warp_n * S::kWarpN;
    const int ratio = task.shuffle * task.shuffle;
    float* const transposed =
        reinterpret_cast<float*>(memory + S::kRingBytes + (buffer ^ 1) * grid.patch_bytes) +
        thread / 32 * S::kTransposedFloats;
    OutputRun run;
    run.from = transposed;
    run.pitch = S::kTransposedPitch;
    run.batch_item = tile.batch_item;
    run.channel = first / ratio;
    // The last warp also writes the zeros.
    const int end = first + S::kWarpN >= task.channels_out
                        ? task.dst_pixel
                        : min((first + S::kWarpN) / ratio, task.dst_pixel);
    if (first < task.channels_out && run.channel < end) {
      const int column = lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < S::kPairs * 2; ++j) {
        const int channel = first + j * 8 + column;
        float2 bias = make_float2(0.0f, 0.0f);
        float2 slope = bias;
        if (channel < task.channels_out) {
          bias = __ldg(reinterpret_cast<const float2*>(task.bias + channel));
          slope = __ldg(reinterpret_cast<const float2*>(task.slope + channel));
        }
#pragma unroll
        for (int i = 0; i < S::kRows; ++i) {
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const float y = sums[i][j][k] + (k % 2 == 0 ? bias.x : bias.y);
            // Adding zero turns -0 into +0.
            sums[i][j][k] = y >= 0.0f ? y : y * (k % 2 == 0 ? slope.x : slope.y) + 0.0f;
          }
        }
      }

      run.per_pixel = (end - run.channel) / (grid.wide ? 8 : 1);
      run.reciprocal = 1.0f / static_cast<float>(run.per_pixel);
      float* const lane_slot = transposed + lane / 4 * S::kTransposedPitch + column;
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) {
        run.y = tile.y + warp_m * S::kRows + i;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          run.x = tile.x + half * kTransposedPixels;
          __syncwarp();
#pragma unroll
          for (int j = 0; j < S::kPairs * 2; ++j) {
            *reinterpret_cast<float2*>(lane_slot + j * 8) =
                make_float2(sums[i][j][half * 2], sums[i][j][half * 2 + 1]);
          }
          __syncwarp();
          if (grid.wide) {
            write_outputs<8, T>(task, grid, run, lane);
          } else {
            write_outputs<1, T>(task, grid, run, lane);
          }
        }
      }
    }
    if constexpr (S::kPrefetch) __syncthreads();
  }
#endif
}

// The number of resident blocks of a device, cached.
template <class T, int kN, int kDepth>
cudaError_t resident_blocks(int kernel, int device, unsigned& blocks) {
  constexpr int kMaxDevices = 64;
  static std::atomic<unsigned> known[kMaxDevices][kMaxKernel];  // 0: not known yet
  const bool keep = device < kMaxDevices;
  if (keep && (blocks = known[device][kernel - 1].load()) != 0) return cudaSuccess;

  const auto function = &convolution_kernel<T, kN, kDepth>;
  int each = 0;
  int count = 0;
  // More than 48 KB of shared memory is opt-in.
  cudaError_t error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           Shape<kN, kDepth>::shared_bytes(kMaxKernel));
  if (error != cudaSuccess) return error;
  error = cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared);
  if (error != cudaSuccess) return error;
  const auto shared = static_cast<std::size_t>(Shape<kN, kDepth>::shared_bytes(kernel));
  error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, function, kThreads, shared);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  blocks = static_cast<unsigned>(std::max(each * count, 1));
  if (keep) known[device][kernel - 1] = blocks;
  return cudaSuccess;
}

}  // namespace

template <class T, int kN, int kDepth>
cudaError_t convolve_by(const Convolution& task, int device, cudaStream_t stream) {
  using S = Shape<kN, kDepth>;
  const int kernel = task.kernel;
  unsigned resident = 0;
  const cudaError_t error = resident_blocks<T, kN, kDepth>(kernel, device, resident);
  if (error != cudaSuccess) return error;

  const auto parts = [](int size, int each) {
    return static_cast<unsigned>((size + each - 1) / each);
  };
  const auto aligned = [](const void* at) {
    return reinterpret_cast<std::uintptr_t>(at) % 16 == 0;
  };
  const auto item = [](int height, int width, int pixel) {
    return std::int64_t{height} * width * pixel;
  };
  Grid grid{};
  grid.src_item = item(task.src_height, task.src_width, task.src_pixel);
  grid.addend_item = item(task.addend_height, task.addend_width, task.addend_pixel);
  grid.dst_item = item(task.dst_height, task.dst_width, task.dst_pixel);
  grid.wide = task.dst_pixel % 8 == 0 && aligned(task.dst) && task.addend_pixel % 8 == 0 &&
              aligned(task.addend);
  grid.chunks = task.channels_in / kDepth;
  grid.taps = kernel * kernel;
  grid.side = kPatch + kernel - 1;
  grid.row_bytes = grid.side * S::kPixelPitch;
  grid.patch_bytes = S::patch_bytes(kernel);
  grid.load_rows = kThreads / (grid.side * S::kVectors);
  grid.load_step = std::int64_t{grid.load_rows} * task.src_width * task.src_pixel;
  grid.patches_x = parts(task.src_width - kernel + 1, kPatch);
  grid.patches_y = parts(task.src_height - kernel + 1, kPatch);
  grid.blocks_n = parts(task.channels_out, kN);
  grid.tiles = grid.patches_x * grid.patches_y * grid.blocks_n * static_cast<unsigned>(task.batch);
  for (int tap = 0; tap < kernel * kernel; ++tap) {
    grid.tap_offsets[tap] = tap / kernel * grid.row_bytes + tap % kernel * S::kPixelPitch;
  }
  return launch(&convolution_kernel<T, kN, kDepth>,
                dim3(std::min(grid.tiles, resident)), dim3(kThreads),
                static_cast<std::size_t>(S::shared_bytes(kernel)), stream, task, grid);
}

}  // namespace waifu2x::cuda
