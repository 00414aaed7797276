// Convolutions of NHWC tensors in half precision with all that follows them, and single passes over
// tensors for what another library's convolutions leave to do. Arguments are not checked here;
// conv_bindings.cpp does.
#pragma once

#include <cstdint>

#include "device.h"

namespace waifu2x::cuda {

// dst = act(conv(src) + bias) + addend, with act(y) = y < 0 ? y * slope : y. The convolution has
// stride 1 and no padding; after the activation come a pixel shuffle, and a cut on every side.
// Of each pixel of dst the first dst_channels are results and the others zeros.
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
  int shuffle;  // 1 or 2
  int crop;
  int dst_height;
  int dst_width;
  int dst_pixel;
  int dst_channels;
  int addend_height;
  int addend_width;
  int addend_pixel;
  int addend_crop;
  bool dst_float;  // else of T, as src
  bool addend_float;
};

// A block makes the results of a patch of kPatch x kPatch pixels, for some of the channels.
constexpr int kPatch = 16;
constexpr int kMostKernel = 4;

// kN: the channels of a block. kDepth: how many input channels it takes at a time.
template <class T, int kN, int kDepth>
cudaError_t convolve_by(const Convolution& convolution, int device, cudaStream_t stream);

template <class T>
cudaError_t convolve(const Convolution& convolution, int device, cudaStream_t stream) {
  const int out = convolution.channels_out;
  if (convolution.channels_in % 32 != 0) {
    return out == 16 ? convolve_by<T, 16, 16>(convolution, device, stream)
                     : convolve_by<T, 32, 16>(convolution, device, stream);
  }
  // Those of one tap wait for memory more than for tensor cores: rather several blocks at a time.
  if (out >= 128 && convolution.kernel > 1) {
    return convolve_by<T, 128, 32>(convolution, device, stream);
  }
  if (out >= 64) return convolve_by<T, 64, 32>(convolution, device, stream);
  return out >= 32 ? convolve_by<T, 32, 32>(convolution, device, stream)
                   : convolve_by<T, 16, 32>(convolution, device, stream);
}

// A dense (batch, height, width, channels) tensor, changed in place. `wide`: all addresses are
// multiples of 16, and channels of as many elements as 16 bytes hold.
template <class E>
struct Pixels {
  E* data;
  int batch;
  int height;
  int width;
  int channels;
  bool wide;
};

// y = act(y + bias) + addend; each of the three may be null. The addend is dense, and read at
// (y + crop, x + crop).
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
