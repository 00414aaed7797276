// The module waifu2x._cuda: kernels over device memory, by raw pointers and a stream handle. It knows
// nothing of torch; who calls it keeps the memory alive and the stream in order.
#include <pybind11/pybind11.h>

#include "bindings.h"

#ifndef WAIFU2X_CUDA_MODULE
#define WAIFU2X_CUDA_MODULE _cuda
#endif

PYBIND11_MODULE(WAIFU2X_CUDA_MODULE, m, pybind11::mod_gil_not_used()) {
  m.doc() = "CUDA kernels; waifu2x.engines.cuda_kernels is their Python face.";
  waifu2x::cuda::bind_tiles(m);
  waifu2x::cuda::bind_convolution(m);
}
