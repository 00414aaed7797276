#include "conv.cuh"

namespace waifu2x::cuda {

template cudaError_t convolve_by<__half, 32, 32>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__half, 16, 32>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__half, 32, 16>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__half, 16, 16>(const Convolution&, int, cudaStream_t);

}  // namespace waifu2x::cuda
