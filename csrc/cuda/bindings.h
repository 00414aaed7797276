// Shared by the bindings of the CUDA kernels.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

#include "device.h"

namespace waifu2x::cuda {

namespace py = pybind11;

void bind_tiles(py::module_& m);
void bind_convolution(py::module_& m);

// Python passes device addresses and stream handles as integers.
using Address = std::uintptr_t;

inline cudaStream_t stream_of(Address handle) { return reinterpret_cast<cudaStream_t>(handle); }

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw py::value_error(message.str());
}

// A checked device address.
template <class T>
T* memory(const char* name, Address address, std::size_t alignment = alignof(T)) {
  if (address == 0 || address % alignment != 0) {
    refuse(name, " is at address ", address, "; it must be a multiple of ", alignment,
           " and not 0");
  }
  return reinterpret_cast<T*>(address);
}

// Raises RuntimeError for a CUDA error.
inline void require_success(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA error: ") + cudaGetErrorString(error) + " (" + what +
                           ")");
}

// The runtime linked into this module has a current device of its own.
inline void set_device(int device) {
  if (device < 0) refuse("device is ", device, "; it must not be negative");
  require_success(cudaSetDevice(device), "cudaSetDevice");
}

// Types of the samples of a picture and of the elements of a tensor.
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

template <class T>
struct Tag {
  using type = T;
};

// Calls `call` with the Tag of a sample type.
template <class Call>
void with_sample(const std::string& name, Call call) {
  switch (sample_of(name)) {
    case Sample::kU8: return call(Tag<std::uint8_t>{});
    case Sample::kU16: return call(Tag<std::uint16_t>{});
    case Sample::kF32: return call(Tag<float>{});
  }
}

// Calls `call` with the Tag of an element type.
template <class Call>
void with_element(const std::string& name, Call call) {
  switch (element_of(name)) {
    case Element::kF32: return call(Tag<float>{});
    case Element::kF16: return call(Tag<__half>{});
    case Element::kBF16: return call(Tag<__nv_bfloat16>{});
  }
}

}  // namespace waifu2x::cuda
