// The extension module of the CUDA kernels. Functions take device addresses and a stream handle,
// and do not depend on torch. The caller keeps memory alive until the stream has finished with it.
#include <pybind11/pybind11.h>

#include "bindings.h"

#ifndef WAIFU2X_CUDA_MODULE
#define WAIFU2X_CUDA_MODULE _cuda
#endif

PYBIND11_MODULE(WAIFU2X_CUDA_MODULE, m, pybind11::mod_gil_not_used()) {
  m.doc() = "CUDA kernels for tiles and convolutions, over device addresses.";
  waifu2x::cuda::bind_tiles(m);
  waifu2x::cuda::bind_convolution(m);
}
