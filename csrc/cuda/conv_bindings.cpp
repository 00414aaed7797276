#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>

#include "bindings.h"
#include "conv.h"

namespace waifu2x::cuda {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();

int number(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    refuse(name, " is ", value, "; it must be from ", least, " to ", most);
  }
  return static_cast<int>(value);
}

// Kernels index the elements of a batch item, and blocks, with int.
std::int64_t count_of(const char* name, std::int64_t a, std::int64_t b, std::int64_t c) {
  if (a * b > kMaxInt || a * b * c > kMaxInt) {
    refuse(name, " has ", a, " x ", b, " x ", c, " elements or blocks; the limit is 2^31 - 1");
  }
  return a * b * c;
}

// Whether elements are float32; otherwise they must have the type of src.
bool is_float(const char* name, const std::string& element, const std::string& of_src) {
  if (element == "float32") return true;
  if (element != of_src) refuse(name, " is ", element, "; it must be float32 or ", of_src);
  return false;
}

// Convolutions use the tensor cores and asynchronous copies of compute capability 8.0.
void require_tensor_cores(int device) {
  static std::atomic<std::uint64_t> known{0};
  const std::uint64_t bit = device < 64 ? std::uint64_t{1} << device : 0;
  if ((known.load() & bit) != 0) return;
  int major = 0;
  require_success(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                  "cudaDeviceGetAttribute");
  if (major < 8) refuse("convolve needs compute capability 8.0 or higher, not ", major, ".x");
  known |= bit;
}

void convolve_pixels(Address src, std::int64_t src_height, std::int64_t src_width,
                     std::int64_t src_pixel, std::int64_t batch, const std::string& element,
                     Address weight, std::int64_t kernel, std::int64_t channels_in,
                     std::int64_t channels_out, Address bias, Address slope, Address dst,
                     const std::string& dst_element, std::int64_t dst_height,
                     std::int64_t dst_width, std::int64_t dst_pixel, std::int64_t dst_channels,
                     std::int64_t shuffle, std::int64_t crop, Address addend,
                     const std::string& addend_element, std::int64_t addend_height,
                     std::int64_t addend_width, std::int64_t addend_pixel,
                     std::int64_t addend_crop, int device, Address stream) {
  const Element kind = element_of(element);
  if (kind == Element::kF32) refuse("element is float32; it must be float16 or bfloat16");

  Convolution task{};
  task.kernel = number("kernel", kernel, 1, kMaxKernel);
  task.shuffle = number("shuffle", shuffle, 1, 2);
  task.crop = number("crop", crop, 0, kMaxInt / 4);
  task.batch = number("batch", batch, 1, 65535);
  task.src_height = number("src_height", src_height, kernel, kMaxInt);
  task.src_width = number("src_width", src_width, kernel, kMaxInt);
  task.src_pixel = number("src_pixel", src_pixel, 16, kMaxInt);
  task.channels_in = number("channels_in", channels_in, 16, src_pixel);
  task.channels_out = number("channels_out", channels_out, 16, kMaxInt);
  if (src_pixel % 8 != 0) refuse("src_pixel is ", src_pixel, ", not a multiple of 8");
  if (channels_in % 16 != 0) refuse("channels_in is ", channels_in, ", not a multiple of 16");
  if (channels_out % 16 != 0) refuse("channels_out is ", channels_out, ", not a multiple of 16");
  count_of("src", src_height, src_width, src_pixel);
  count_of("weight", kernel * kernel, channels_in, channels_out);

  const std::int64_t height = (src_height - kernel + 1) * shuffle - 2 * crop;
  const std::int64_t width = (src_width - kernel + 1) * shuffle - 2 * crop;
  if (height < 1 || width < 1) refuse("crop is ", crop, "; nothing is left of the result");
  if (dst_height != height || dst_width != width) {
    refuse("dst is ", dst_width, " x ", dst_height, "; the result is ", width, " x ", height);
  }
  task.dst_height = static_cast<int>(height);
  task.dst_width = static_cast<int>(width);
  task.dst_channels =
      number("dst_channels", dst_channels, 1, channels_out / (shuffle * shuffle));
  // Larger counts would make the division in write_outputs inexact.
  task.dst_pixel = number("dst_pixel", dst_pixel, dst_channels, 1 << 14);
  count_of("dst", height, width, dst_pixel);

  task.src = memory<const void>("src", src, 16);
  task.weight = memory<const void>("weight", weight, 16);
  task.bias = memory<const float>("bias", bias, 8);
  task.slope = memory<const float>("slope", slope, 8);
  task.dst_float = is_float("dst_element", dst_element, element);
  task.dst = memory<void>("dst", dst, task.dst_float ? 4 : 2);
  if (addend != 0) {
    task.addend_float = is_float("addend_element", addend_element, element);
    task.addend = memory<const void>("addend", addend, task.addend_float ? 4 : 2);
    task.addend_crop = number("addend_crop", addend_crop, 0, kMaxInt / 4);
    task.addend_height = number("addend_height", addend_height, height + addend_crop, kMaxInt);
    task.addend_width = number("addend_width", addend_width, width + addend_crop, kMaxInt);
    task.addend_pixel = number("addend_pixel", addend_pixel, dst_channels, kMaxInt);
    count_of("addend", addend_height, addend_width, addend_pixel);
  }

  const auto patches = [&](std::int64_t size) { return (size - kernel + kPatch) / kPatch; };
  count_of("the grid", patches(src_height), patches(src_width), channels_out / 16 * batch);
  set_device(device);
  require_tensor_cores(device);
  const py::gil_scoped_release release;
  const cudaError_t error = kind == Element::kF16
                                ? convolve<__half>(task, device, stream_of(stream))
                                : convolve<__nv_bfloat16>(task, device, stream_of(stream));
  require_success(error, "convolve");
}

template <class E>
Pixels<E> pixels_of(Address data, std::int64_t batch, std::int64_t height, std::int64_t width,
                    std::int64_t channels) {
  Pixels<E> pixels{};
  pixels.data = memory<E>("data", data, sizeof(E));
  pixels.batch = number("batch", batch, 1, 65535);
  pixels.height = number("height", height, 1, kMaxInt);
  pixels.width = number("width", width, 1, kMaxInt);
  pixels.channels = number("channels", channels, 1, kMaxInt);
  count_of("data", height, width, channels);
  count_of("the grid", batch, height, width * channels / 1024 + 1);
  return pixels;
}

template <class E>
bool is_wide(std::int64_t channels, Address all) {
  return channels * sizeof(E) % 16 == 0 && all % 16 == 0;
}

void finish_pixels(Address data, const std::string& element, std::int64_t batch,
                   std::int64_t height, std::int64_t width, std::int64_t channels, Address bias,
                   Address slope, Address addend, std::int64_t addend_height,
                   std::int64_t addend_width, std::int64_t addend_crop, int device,
                   Address stream) {
  with_element(element, [&](auto tag) {
    using E = typename decltype(tag)::type;
    auto pixels = pixels_of<E>(data, batch, height, width, channels);
    pixels.wide = is_wide<E>(channels, data | addend);
    Finish<E> task{};
    if (bias != 0) task.bias = memory<const float>("bias", bias, 4);
    if (slope != 0) task.slope = memory<const float>("slope", slope, 4);
    if (addend != 0) {
      task.addend = memory<const E>("addend", addend, sizeof(E));
      task.addend_crop = number("addend_crop", addend_crop, 0, kMaxInt / 4);
      task.addend_height = number("addend_height", addend_height, height + addend_crop, kMaxInt);
      task.addend_width = number("addend_width", addend_width, width + addend_crop, kMaxInt);
      count_of("addend", addend_height, addend_width, channels);
    }
    set_device(device);
    const py::gil_scoped_release release;
    require_success(finish(pixels, task, stream_of(stream)), "finish");
  });
}

void gate_pixels(Address data, const std::string& element, std::int64_t batch, std::int64_t height,
                 std::int64_t width, std::int64_t channels, Address gates, int device,
                 Address stream) {
  with_element(element, [&](auto tag) {
    using E = typename decltype(tag)::type;
    auto pixels = pixels_of<E>(data, batch, height, width, channels);
    pixels.wide = is_wide<E>(channels, data);
    const auto* factors = memory<const float>("gates", gates, 4);
    set_device(device);
    const py::gil_scoped_release release;
    require_success(gate(pixels, factors, stream_of(stream)), "gate");
  });
}

}  // namespace

void bind_convolution(py::module_& m) {
  using py::arg;
  m.def("convolve", &convolve_pixels, py::kw_only(), arg("src"), arg("src_height"),
        arg("src_width"), arg("src_pixel"), arg("batch"), arg("element"), arg("weight"),
        arg("kernel"), arg("channels_in"), arg("channels_out"), arg("bias"), arg("slope"),
        arg("dst"), arg("dst_element"), arg("dst_height"), arg("dst_width"), arg("dst_pixel"),
        arg("dst_channels"), arg("shuffle"), arg("crop"), arg("addend"), arg("addend_element"),
        arg("addend_height"), arg("addend_width"), arg("addend_pixel"), arg("addend_crop"),
        arg("device"), arg("stream"));
  m.def("finish", &finish_pixels, py::kw_only(), arg("data"), arg("element"), arg("batch"),
        arg("height"), arg("width"), arg("channels"), arg("bias"), arg("slope"), arg("addend"),
        arg("addend_height"), arg("addend_width"), arg("addend_crop"), arg("device"),
        arg("stream"));
  m.def("gate", &gate_pixels, py::kw_only(), arg("data"), arg("element"), arg("batch"),
        arg("height"), arg("width"), arg("channels"), arg("gates"), arg("device"), arg("stream"));
}

}  // namespace waifu2x::cuda
