#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>

#include "bindings.h"
#include "conv.h"

namespace waifu2x::cuda {
namespace {

constexpr std::int64_t kMostInt = std::numeric_limits<int>::max();

int number(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most) {
    refuse(name, " is ", value, "; it must be from ", least, " to ", most);
  }
  return static_cast<int>(value);
}

// Kernels count the elements of a batch item, and their blocks, in ints.
std::int64_t count_of(const char* name, std::int64_t a, std::int64_t b, std::int64_t c) {
  if (a * b > kMostInt || a * b * c > kMostInt) {
    refuse(name, " has ", a, " x ", b, " x ", c, " elements or blocks; it must be less than 2^31");
  }
  return a * b * c;
}

template <class T>
T* memory(const char* name, Address address, std::size_t alignment) {
  if (address == 0 || address % alignment != 0) {
    refuse(name, " is at address ", address, "; it must be a multiple of ", alignment,
           " and not 0");
  }
  return at<T>(address);
}

// Whether elements are float32, where they can also be what src has.
bool is_float(const char* name, const std::string& element, const std::string& of_src) {
  if (element == "float32") return true;
  if (element != of_src) refuse(name, " is ", element, "; it must be float32 or ", of_src);
  return false;
}

// Sets the device: the runtime in this module has a current one of its own.
void use(int device) {
  if (device < 0) refuse("device is ", device);
  require_success(cudaSetDevice(device), "cudaSetDevice");
}

void require_tensor_cores(int device) {
  static std::atomic<std::uint64_t> known{0};
  const std::uint64_t bit = device < 64 ? std::uint64_t{1} << device : 0;
  if ((known.load() & bit) != 0) return;
  int major = 0;
  require_success(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                  "cudaDeviceGetAttribute");
  if (major < 8) refuse("convolve needs a compute capability of 8.0 or more, not ", major, ".x");
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
  task.kernel = number("kernel", kernel, 1, kMostKernel);
  task.shuffle = number("shuffle", shuffle, 1, 2);
  task.crop = number("crop", crop, 0, kMostInt / 4);
  task.batch = number("batch", batch, 1, 65535);
  task.src_height = number("src_height", src_height, kernel, kMostInt);
  task.src_width = number("src_width", src_width, kernel, kMostInt);
  task.src_pixel = number("src_pixel", src_pixel, 16, kMostInt);
  task.channels_in = number("channels_in", channels_in, 16, src_pixel);
  task.channels_out = number("channels_out", channels_out, 16, kMostInt);
  if (src_pixel % 8 != 0) refuse("src_pixel is ", src_pixel, ", not a multiple of 8");
  if (channels_in % 16 != 0) refuse("channels_in is ", channels_in, ", not a multiple of 16");
  if (channels_out % 16 != 0) refuse("channels_out is ", channels_out, ", not a multiple of 16");
  count_of("src", src_height, src_width, src_pixel);
  count_of("weight", kernel * kernel, channels_in, channels_out);

  const std::int64_t height = (src_height - kernel + 1) * shuffle - 2 * crop;
  const std::int64_t width = (src_width - kernel + 1) * shuffle - 2 * crop;
  if (height < 1 || width < 1) refuse("crop is ", crop, ", which leaves nothing");
  if (dst_height != height || dst_width != width) {
    refuse("dst is ", dst_width, " x ", dst_height, "; the result is ", width, " x ", height);
  }
  task.dst_height = static_cast<int>(height);
  task.dst_width = static_cast<int>(width);
  task.dst_channels =
      number("dst_channels", dst_channels, 1, channels_out / (shuffle * shuffle));
  // Of more, what a warp counts would not be exact.
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
    task.addend_crop = number("addend_crop", addend_crop, 0, kMostInt / 4);
    task.addend_height = number("addend_height", addend_height, height + addend_crop, kMostInt);
    task.addend_width = number("addend_width", addend_width, width + addend_crop, kMostInt);
    task.addend_pixel = number("addend_pixel", addend_pixel, dst_channels, kMostInt);
    count_of("addend", addend_height, addend_width, addend_pixel);
  }

  const auto patches = [&](std::int64_t size) { return (size - kernel + kPatch) / kPatch; };
  count_of("the grid", patches(src_height), patches(src_width), channels_out / 16 * batch);
  use(device);
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
  pixels.height = number("height", height, 1, kMostInt);
  pixels.width = number("width", width, 1, kMostInt);
  pixels.channels = number("channels", channels, 1, kMostInt);
  count_of("data", height, width, channels);
  count_of("the grid", batch, height, width * channels / 1024 + 1);
  return pixels;
}

template <class E>
bool is_wide(std::int64_t channels, Address all) {
  return channels * sizeof(E) % 16 == 0 && all % 16 == 0;
}

template <class Call>
void with_element(const std::string& name, Call call) {
  switch (element_of(name)) {
    case Element::kF32: return call(float{});
    case Element::kF16: return call(__half{});
    case Element::kBF16: return call(__nv_bfloat16{});
  }
}

void finish_pixels(Address data, const std::string& element, std::int64_t batch,
                   std::int64_t height, std::int64_t width, std::int64_t channels, Address bias,
                   Address slope, Address addend, std::int64_t addend_height,
                   std::int64_t addend_width, std::int64_t addend_crop, int device,
                   Address stream) {
  with_element(element, [&](auto zero) {
    using E = decltype(zero);
    auto pixels = pixels_of<E>(data, batch, height, width, channels);
    pixels.wide = is_wide<E>(channels, data | addend);
    Finish<E> task{};
    if (bias != 0) task.bias = memory<const float>("bias", bias, 4);
    if (slope != 0) task.slope = memory<const float>("slope", slope, 4);
    if (addend != 0) {
      task.addend = memory<const E>("addend", addend, sizeof(E));
      task.addend_crop = number("addend_crop", addend_crop, 0, kMostInt / 4);
      task.addend_height = number("addend_height", addend_height, height + addend_crop, kMostInt);
      task.addend_width = number("addend_width", addend_width, width + addend_crop, kMostInt);
      count_of("addend", addend_height, addend_width, channels);
    }
    use(device);
    const py::gil_scoped_release release;
    require_success(finish(pixels, task, stream_of(stream)), "finish");
  });
}

void gate_pixels(Address data, const std::string& element, std::int64_t batch, std::int64_t height,
                 std::int64_t width, std::int64_t channels, Address gates, int device,
                 Address stream) {
  with_element(element, [&](auto zero) {
    using E = decltype(zero);
    auto pixels = pixels_of<E>(data, batch, height, width, channels);
    pixels.wide = is_wide<E>(channels, data);
    const auto* factors = memory<const float>("gates", gates, 4);
    use(device);
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
