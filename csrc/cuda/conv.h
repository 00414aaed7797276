// Convolutions of NHWC tensors in half precision with fused epilogues, and elementwise passes that
// complete the convolutions of another library. conv_bindings.cpp checks the arguments.
#pragma once

#include <cstdint>

#include "device.h"

namespace waifu2x::cuda {

// dst = act(conv(src) + bias) + addend, with act(y) = y < 0 ? y * slope : y. The convolution has
// stride 1 and no padding. A pixel shuffle and a crop on each side follow the activation. The first
// dst_channels elements of a pixel of dst are results, the others zeros.
struct Convolution {
  const void* src;
  const void* weight;
  const float* bias;
  const float* slope;
  const void* addend;  // or null
  void* dst;
  int batch;
  int src_height;
  int src_width;
  int src_pixel;
  int kernel;
  int channels_in;
  int channels_out;
  int shuffle;  // factor, 1 or 2
  int crop;
  int dst_height;
  int dst_width;
  int dst_pixel;
  int dst_channels;
  int addend_height;
  int addend_width;
  int addend_pixel;
  int addend_crop;
  bool dst_float;  // otherwise T, like src
  bool addend_float;
};

// A block computes kPatch x kPatch pixels of some of the channels.
constexpr int kPatch = 16;
constexpr int kMaxKernel = 4;

// kN: output channels of a block. kDepth: input channels of a chunk.
template <class T, int kN, int kDepth>
cudaError_t convolve_by(const Convolution& convolution, int device, cudaStream_t stream);

template <class T>
cudaError_t convolve(const Convolution& convolution, int device, cudaStream_t stream) {
  const int out = convolution.channels_out;
  if (convolution.channels_in % 32 != 0) {
    return out == 16 ? convolve_by<T, 16, 16>(convolution, device, stream)
                     : convolve_by<T, 32, 16>(convolution, device, stream);
  }
  // 1x1 kernels are bound by memory, and gain more from several resident blocks.
  if (out >= 128 && convolution.kernel > 1) {
    return convolve_by<T, 128, 32>(convolution, device, stream);
  }
  if (out >= 64) return convolve_by<T, 64, 32>(convolution, device, stream);
  return out >= 32 ? convolve_by<T, 32, 32>(convolution, device, stream)
                   : convolve_by<T, 16, 32>(convolution, device, stream);
}

// A dense (batch, height, width, channels) tensor, modified in place. `wide`: all addresses and the
// bytes of a pixel are multiples of 16.
template <class E>
struct Pixels {
  E* data;
  int batch;
  int height;
  int width;
  int channels;
  bool wide;
};

// y = act(y + bias) + addend; bias, slope and addend may be null. The addend is dense, and read at
// (y + addend_crop, x + addend_crop).
template <class E>
struct Finish {
  const float* bias;
  const float* slope;
  const E* addend;
  int addend_height;
  int addend_width;
  int addend_crop;
};
template <class E>
cudaError_t finish(const Pixels<E>& pixels, const Finish<E>& task, cudaStream_t stream);

// y *= gates[n, c].
template <class E>
cudaError_t gate(const Pixels<E>& pixels, const float* gates, cudaStream_t stream);

}  // namespace waifu2x::cuda
