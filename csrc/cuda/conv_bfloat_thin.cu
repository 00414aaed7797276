#include "conv.cuh"

namespace waifu2x::cuda {

template cudaError_t convolve_by<__nv_bfloat16, 32, 32>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__nv_bfloat16, 16, 32>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__nv_bfloat16, 32, 16>(const Convolution&, int, cudaStream_t);
template cudaError_t convolve_by<__nv_bfloat16, 16, 16>(const Convolution&, int, cudaStream_t);

}  // namespace waifu2x::cuda
