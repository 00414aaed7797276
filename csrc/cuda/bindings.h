// What the files that bind the CUDA kernels share.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

#include "device.h"

namespace waifu2x::cuda {

namespace py = pybind11;

void bind_tiles(py::module_& m);
void bind_convolution(py::module_& m);

// Addresses of device memory, and stream handles, come as integers.
using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

inline cudaStream_t stream_of(Address handle) { return reinterpret_cast<cudaStream_t>(handle); }

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw py::value_error(message.str());
}

// Raises RuntimeError for an error of CUDA.
inline void require_success(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA error: ") + cudaGetErrorString(error) + " (" + what + ")");
  }
}

// What samples of a picture, and elements of a tensor, can be.
enum class Sample { kU8, kU16, kF32 };
enum class Element { kF32, kF16, kBF16 };

inline Sample sample_of(const std::string& name) {
  if (name == "uint8") return Sample::kU8;
  if (name == "uint16") return Sample::kU16;
  if (name == "float32") return Sample::kF32;
  refuse("samples are ", name, "; they must be uint8, uint16 or float32");
}

inline Element element_of(const std::string& name) {
  if (name == "float32") return Element::kF32;
  if (name == "float16") return Element::kF16;
  if (name == "bfloat16") return Element::kBF16;
  refuse("elements are ", name, "; they must be float32, float16 or bfloat16");
}

}  // namespace waifu2x::cuda
