#include "conv.cuh"

namespace waifu2x::cuda {

template cudaError_t convolve_by<__half, 128, 32>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__half, 64, 32>(const Convolution&, int, cudaStream_t);

}  // namespace waifu2x::cuda
