// The kernel of convolutions: an implicit GEMM whose rows are the pixels of a patch.
//
// Input channels are taken kDepth at a time. Their patch, with the halo that the taps need, comes
// to shared memory once, and every tap reads it from there, shifted. The weights of one tap are a
// stage, and stages come through a ring of kStages. Sums have one order, whatever the pixel: by
// channels, then by taps. A block goes from tile to tile, a tile being a patch and kN of the output
// channels, and loads run ahead into the next tile while this one is written.
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
constexpr int kTurned = 8;
static_assert(kPatch == 16, "a row of a patch is the rows of one matrix");

template <int kN, int kDepth>
struct Shape {
  static constexpr int kWarpN = kN < 64 ? kN : 64;
  static constexpr int kWarpsN = kN / kWarpN;
  static constexpr int kRows = kPatch * kWarpsN / kWarps;  // of the patch, a warp has
  static constexpr int kPairs = kWarpN / 16;               // two times eight channels
  static constexpr int kSteps = kDepth / 16;
  // Where registers allow, the operands of a step are loaded during the step before, across
  // stages too; otherwise a second block on the multiprocessor fills the gaps.
  static constexpr bool kAhead = kN == 128;
  static constexpr int kHeld = kAhead ? kSteps : 1;  // the steps whose operands are held
  static constexpr bool kManyTaps = kN == 128;  // `convolve` sees to that
  // On a multiprocessor; as many as registers allow.
  static constexpr int kBlocks = kN == 128 ? 1 : kN == 16 || kDepth == 16 ? 3 : 2;
  // In bytes. Pitches are odd multiples of 16, so that eight rows of a matrix are in all banks.
  static constexpr int kPixelPitch = kDepth * 2 + 16;
  static constexpr int kWeightPitch = kN * 2 + 16;
  static constexpr int kStageBytes = kDepth * kWeightPitch;
  static constexpr int kRingBytes = kStages * kStageBytes;
  static constexpr int kVectors = kDepth / 8;
  // What a warp writes at a time: the results of kTurned pixels. In floats; the pitch makes a store
  // of two by each of the lanes free of conflicts.
  static constexpr int kTurnedPitch = kWarpN + 8;
  static constexpr int kTurnedFloats = kTurned * kTurnedPitch;

  static constexpr int patch_bytes(int kernel) {
    return (kPatch + kernel - 1) * (kPatch + kernel - 1) * kPixelPitch;
  }
  static constexpr int shared_bytes(int kernel) { return kRingBytes + 2 * patch_bytes(kernel); }
  static_assert(shared_bytes(kMostKernel) <= 99 << 10);
  static_assert(kWarps * kTurnedFloats * 4 <= patch_bytes(1), "a patch makes room for it");
};

// What a launch adds to a Convolution; sums that are here take no registers.
struct Grid {
  std::int64_t src_item;  // elements of a batch item
  std::int64_t addend_item;
  std::int64_t dst_item;
  bool wide;  // eight channels of dst and addend can be one access, or two
  int chunks;
  int taps;
  int side;  // of a patch with its halo
  int row_bytes;
  int patch_bytes;
  int load_rows;  // of a patch, that all threads load at a time
  std::int64_t load_step;  // elements of src from one to the next row of a thread
  unsigned patches_x;
  unsigned patches_y;
  unsigned blocks_n;
  unsigned tiles;
  int tap_offsets[kMostKernel * kMostKernel];  // from pixel to pixel in shared memory, in bytes
};

struct Tile {
  int y;
  int x;
  int batch_item;

  // Tiles of the same patch follow each other: the first brings it to the cache for the others.
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

// kCount elements as floats: one, or eight at an address that is a multiple of 16.
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

// The results of kTurned pixels that a warp has to write, and where they are.
struct Run {
  const float* from;  // [pixel][channel of the convolution]
  int pitch;
  int batch_item;
  int y;  // of the convolution, as x
  int x;
  int channel;  // of dst, the first
  int per_pixel;  // how many lanes a pixel takes
  float reciprocal;  // of that
};

// By all lanes of a warp, kCount channels of a pixel each.
template <int kCount, class T>
__device__ __forceinline__ void write_run(const Convolution& task, const Grid& grid, const Run& run,
                                          int lane) {
  const int log = task.shuffle - 1;
  const int items = (kTurned << 2 * log) * run.per_pixel;
#pragma unroll 1
  for (int item = lane; item < items; item += 32) {
    // Exact: the fraction is at least half of the reciprocal away from the next integer.
    const int position = static_cast<int>((static_cast<float>(item) + 0.5f) * run.reciprocal);
    const int offset = (item - position * run.per_pixel) * kCount;
    const int below = position >> (3 + log);
    const int across = position & ((kTurned << log) - 1);
    const int y = (run.y << log) + below - task.crop;
    const int x = (run.x << log) + across - task.crop;
    // What the patch has beyond the picture is beyond dst too.
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

// The operands of a step: 16 input channels of one tap.
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

// grid is a __grid_constant__ so that its table is indexed where it is, not in a copy on the stack.
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

  // --- the patches of all grid.chunks of all tiles, in their order, into two buffers in turn

  // A thread has one column, and every load_rows-th row.
  const int patch_row = thread / (grid.side * S::kVectors);
  const int patch_column = thread / S::kVectors % grid.side;
  const int patch_vector = thread % S::kVectors;
  const T* const src = static_cast<const T*>(task.src);
  const T* patch_from = src;
  int patch_height = 0;  // rows of the picture from the first that is this thread's
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

  // --- the weights of all stages of all tiles, in their order

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

  // A stage is there when all groups but the last kStages - 2 are: each load of weights makes one.
  // The patch of a chunk is in the group that is made in the first stage of the chunk before.
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

  // --- what this lane reads of the patch and of the weights; see `load_matrices`

  const Shared pixel_base =
      patches + (warp_m * S::kRows * grid.side + lane % 16) * S::kPixelPitch + lane / 16 * 16;
  const Shared weight_base =
      ring + lane % 16 * S::kWeightPitch + lane / 16 * 16 + warp_n * S::kWarpN * 2;
  int buffer = 0;
  unsigned slot = 0;
  int tap = 0;
  Operands<S> operands[S::kHeld];
  const auto load_operands = [&](int k) {
    operands[k % S::kHeld].load(pixel_base + buffer * grid.patch_bytes + grid.tap_offsets[tap],
                                grid.row_bytes, weight_base + slot * S::kStageBytes, k);
  };

  if constexpr (S::kAhead) wait_for_stage();
  for (unsigned index = blockIdx.x; index < grid.tiles; index += gridDim.x) {
    float sums[S::kRows][S::kPairs * 2][4] = {};
    if constexpr (S::kAhead) load_operands(0);
    for (int stage = grid.chunks * grid.taps; stage > 0; --stage) {
      if constexpr (!S::kAhead) {
        wait_for_stage();
        load_operands(0);
      }
#pragma unroll
      for (int k = 1; k < S::kHeld; ++k) load_operands(k);
      // Into the memory of the last chunk and of the last stage, which all warps have read.
      if (tap == 0) load_patch(buffer ^ 1);
      load_weights((slot + kStages - 1) % kStages);
#pragma unroll
      for (int k = 0; k < S::kSteps; ++k) {
        if (k >= S::kHeld) load_operands(k);
        if (k + 1 == S::kSteps) {
          slot = (slot + 1) % kStages;
          if (++tap == grid.taps) {
            tap = 0;
            buffer ^= 1;
          }
          if constexpr (S::kAhead) {
            // Behind the last stage of a tile nothing uses this.
            wait_for_stage();
            load_operands(0);
          }
        }
        operands[k % S::kHeld].template multiply<T>(sums);
      }
    }

    // --- each warp turns its results around in its part of the patch that has been used

    if constexpr (!S::kAhead) __syncthreads();
    const Tile tile(grid, index);
    const int first = static_cast<int>(index % grid.blocks_n) * kN + warp_n * S::kWarpN;
    const int ratio = task.shuffle * task.shuffle;
    float* const turned =
        reinterpret_cast<float*>(memory + S::kRingBytes + (buffer ^ 1) * grid.patch_bytes) +
        thread / 32 * S::kTurnedFloats;
    Run run;
    run.from = turned;
    run.pitch = S::kTurnedPitch;
    run.batch_item = tile.batch_item;
    run.channel = first / ratio;
    // The last of the warps has the zeros too.
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
            // The zero makes one of -0.
            sums[i][j][k] = y >= 0.0f ? y : y * (k % 2 == 0 ? slope.x : slope.y) + 0.0f;
          }
        }
      }

      run.per_pixel = (end - run.channel) / (grid.wide ? 8 : 1);
      run.reciprocal = 1.0f / static_cast<float>(run.per_pixel);
      float* const put = turned + lane / 4 * S::kTurnedPitch + column;
#pragma unroll
      for (int i = 0; i < S::kRows; ++i) {
        run.y = tile.y + warp_m * S::kRows + i;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          run.x = tile.x + half * kTurned;
          __syncwarp();
#pragma unroll
          for (int j = 0; j < S::kPairs * 2; ++j) {
            *reinterpret_cast<float2*>(put + j * 8) =
                make_float2(sums[i][j][half * 2], sums[i][j][half * 2 + 1]);
          }
          __syncwarp();
          if (grid.wide) {
            write_run<8, T>(task, grid, run, lane);
          } else {
            write_run<1, T>(task, grid, run, lane);
          }
        }
      }
    }
    if constexpr (S::kAhead) __syncthreads();
  }
#endif
}

// How many blocks a device has room for; 0 is for those not known yet.
template <class T, int kN, int kDepth>
cudaError_t resident_blocks(int kernel, int device, unsigned& blocks) {
  constexpr int kMostDevices = 64;
  static std::atomic<unsigned> known[kMostDevices][kMostKernel];
  const bool keep = device < kMostDevices;
  if (keep && (blocks = known[device][kernel - 1].load()) != 0) return cudaSuccess;

  const auto function = &convolution_kernel<T, kN, kDepth>;
  int each = 0;
  int count = 0;
  // Without asking there is less.
  cudaError_t error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           Shape<kN, kDepth>::shared_bytes(kMostKernel));
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
