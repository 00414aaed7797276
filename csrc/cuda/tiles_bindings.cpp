#include "tiles.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "bindings.h"

namespace waifu2x::cuda {
namespace {

int* stats_at(Address address) { return address == 0 ? nullptr : memory<int>("stats", address); }

void require_side(const char* name, std::int64_t size) {
  if (size < 1 || size > kMaxSide) {
    refuse(name, " is ", size, "; it must be from 1 to ", kMaxSide);
  }
}

template <class T>
Picture<T> picture(const char* name, Address address, std::int64_t height, std::int64_t width,
                   std::int64_t channels, std::int64_t stride) {
  require_side("height", height);
  require_side("width", width);
  if (channels != 1 && channels != 3) refuse(name, " has ", channels, " channels, not 1 or 3");
  // Keeps all sample offsets within int64.
  if (stride < width * channels || stride > (std::int64_t{1} << 60) / height) {
    refuse(name, " has a stride of ", stride, " samples; rows have ", width * channels);
  }
  return {memory<T>(name, address), height, width, channels, stride};
}

template <class E>
Tensor<E> tensor(const char* name, Address address, std::size_t count, std::int64_t height,
                 std::int64_t width, std::int64_t pixel) {
  require_side("the height of a window", height);
  require_side("the width of a window", width);
  if (pixel < 3 || pixel > kMaxRow / width) {
    refuse(name, " has ", pixel, " elements a pixel; it must be from 3 to ", kMaxRow / width);
  }
  const auto most = (std::int64_t{1} << 60) / (height * width * pixel);
  if (static_cast<std::int64_t>(count) > std::min(most, kMaxRow)) {
    refuse(name, " has ", count, " windows; it must be at most ", std::min(most, kMaxRow));
  }
  return {memory<E>(name, address), static_cast<std::int64_t>(count), height, width, pixel};
}

using Numbers = std::array<std::int64_t, 6>;

// Subtracts, since sums could overflow.
void require_inside(const char* name, std::int64_t x, std::int64_t y, const Rect& rect,
                    std::int64_t height, std::int64_t width) {
  if (rect.width < 1 || rect.height < 1 || x < 0 || y < 0 || rect.width > width ||
      rect.height > height || x > width - rect.width || y > height - rect.height) {
    refuse("the rectangle of ", rect.width, " x ", rect.height, " pixels at (", x, ", ", y,
           ") is not inside ", name, ", which is ", width, " x ", height, " pixels");
  }
}

template <class E, class T>
Rect rect_of(const Numbers& numbers, const Tensor<E>& src, const Picture<T>& dst) {
  const auto [src_x, src_y, dst_x, dst_y, width, height] = numbers;
  const Rect rect{src_x, src_y, dst_x, dst_y, width, height};
  require_inside("src", src_x, src_y, rect, src.height, src.width);
  require_inside("the picture", dst_x, dst_y, rect, dst.height, dst.width);
  return rect;
}

// Launches on a device without the GIL.
template <class Launch>
void on_device(int device, const char* what, Launch launch) {
  const py::gil_scoped_release release;
  set_device(device);
  require_success(launch(), what);
}

void gather_tiles(Address src, const std::string& sample, std::int64_t height, std::int64_t width,
                  std::int64_t channels, std::int64_t stride, const std::vector<std::int64_t>& xs,
                  const std::vector<std::int64_t>& ys, Address dst, const std::string& element,
                  std::int64_t window_height, std::int64_t window_width, std::int64_t pixel,
                  std::int64_t inset, Address stats_address, int device, Address stream) {
  if (xs.size() != ys.size()) refuse("there are ", xs.size(), " xs and ", ys.size(), " ys");
  if (inset < 0) refuse("inset is ", inset, "; it must not be negative");
  with_sample(sample, [&](auto sample_tag) {
    with_element(element, [&](auto element_tag) {
      using T = typename decltype(sample_tag)::type;
      using E = typename decltype(element_tag)::type;
      const auto from = picture<const T>("src", src, height, width, channels, stride);
      const auto to = tensor<E>("dst", dst, xs.size(), window_height, window_width, pixel);
      int* stats = stats_at(stats_address);
      on_device(device, "gather",
                [&] { return gather(from, xs, ys, to, inset, stats, stream_of(stream)); });
    });
  });
}

void blend_tiles(Address src, const std::string& element, std::int64_t src_height,
                 std::int64_t src_width, std::int64_t pixel, const std::vector<Numbers>& rects,
                 Address dst, const std::string& sample, std::int64_t height, std::int64_t width,
                 std::int64_t channels, std::int64_t stride, Address stats_address, int device,
                 Address stream) {
  with_sample(sample, [&](auto sample_tag) {
    with_element(element, [&](auto element_tag) {
      using T = typename decltype(sample_tag)::type;
      using E = typename decltype(element_tag)::type;
      const auto from = tensor<const E>("src", src, rects.size(), src_height, src_width, pixel);
      const auto to = picture<T>("dst", dst, height, width, channels, stride);
      std::vector<Rect> checked;
      for (const Numbers& numbers : rects) checked.push_back(rect_of(numbers, from, to));
      int* stats = stats_at(stats_address);
      on_device(device, "blend",
                [&] { return blend(from, checked, to, stats, stream_of(stream)); });
    });
  });
}

void feather_tile(Address src, const std::string& element, std::int64_t src_height,
                  std::int64_t src_width, std::int64_t pixel, std::int64_t index,
                  const Numbers& rect, Address canvas, std::int64_t height, std::int64_t width,
                  std::int64_t channels, std::int64_t stride, Address weights_x, Address weights_y,
                  Address stats_address, int device, Address stream) {
  if (index < 0 || index >= kMaxRow) refuse("index is ", index);
  with_element(element, [&](auto element_tag) {
    using E = typename decltype(element_tag)::type;
    const auto count = static_cast<std::size_t>(index) + 1;
    const auto from = tensor<const E>("src", src, count, src_height, src_width, pixel);
    const auto to = picture<float>("canvas", canvas, height, width, channels, stride);
    const Rect checked = rect_of(rect, from, to);
    const auto* across = memory<const float>("weights_x", weights_x);
    const auto* down = memory<const float>("weights_y", weights_y);
    int* stats = stats_at(stats_address);
    on_device(device, "feather", [&] {
      return feather(from, index, checked, to, across, down, stats, stream_of(stream));
    });
  });
}

void quantize_canvas(Address src, Address dst, const std::string& sample, std::int64_t count,
                     int device, Address stream) {
  if (count < 0 || count > (std::int64_t{1} << 40)) refuse("count is ", count);
  with_sample(sample, [&](auto sample_tag) {
    using T = typename decltype(sample_tag)::type;
    const auto* from = memory<const float>("src", src);
    auto* to = memory<T>("dst", dst);
    on_device(device, "quantize", [&] { return quantize(from, to, count, stream_of(stream)); });
  });
}

}  // namespace

void bind_tiles(py::module_& m) {
  using py::arg;
  m.def("gather", &gather_tiles, py::kw_only(), arg("src"), arg("sample"), arg("height"),
        arg("width"), arg("channels"), arg("stride"), arg("xs"), arg("ys"), arg("dst"),
        arg("element"), arg("window_height"), arg("window_width"), arg("pixel"), arg("inset"),
        arg("stats"), arg("device"), arg("stream"));
  m.def("blend", &blend_tiles, py::kw_only(), arg("src"), arg("element"), arg("src_height"),
        arg("src_width"), arg("pixel"), arg("rects"), arg("dst"), arg("sample"), arg("height"),
        arg("width"), arg("channels"), arg("stride"), arg("stats"), arg("device"), arg("stream"));
  m.def("feather", &feather_tile, py::kw_only(), arg("src"), arg("element"), arg("src_height"),
        arg("src_width"), arg("pixel"), arg("index"), arg("rect"), arg("canvas"), arg("height"),
        arg("width"), arg("channels"), arg("stride"), arg("weights_x"), arg("weights_y"),
        arg("stats"), arg("device"), arg("stream"));
  m.def("quantize", &quantize_canvas, py::kw_only(), arg("src"), arg("dst"), arg("sample"),
        arg("count"), arg("device"), arg("stream"));
}

}  // namespace waifu2x::cuda
