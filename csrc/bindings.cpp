// The native module: checks every array and rectangle, releases the GIL and calls. A bad argument
// raises ValueError before anything is touched, so no call can read or write out of range.

#include <pybind11/pybind11.h>
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>

#include "dispatch.h"
#include "tiles.h"

namespace py = pybind11;

namespace waifu2x {
namespace {

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw py::value_error(message.str());
}

std::string shape_of(const py::array& array) { return py::str(array.attr("shape")); }
std::string dtype_of(const py::array& array) { return py::str(array.dtype()); }

const Kernels& kernels_for(const std::optional<std::string>& isa) {
  return (isa ? level(*isa) : best_level()).kernels;
}

// An argument and its name, for messages.
struct Argument {
  const char* name;
  const py::array& array;
};

template <class T>
bool holds(const py::array& array) {
  return py::isinstance<py::array_t<T, 0>>(array);  // false for the other byte order
}

template <class T>
void require_dtype(const Argument& a, const char* wanted) {
  if (!holds<T>(a.array)) {
    refuse(a.name, " has dtype ", dtype_of(a.array), "; it must be ", wanted);
  }
}

template <class T>
struct Tag {
  using type = T;
};

// Calls `call` with the tag of the array's sample type.
template <class Call>
auto with_sample_type(const Argument& a, Call call) {
  if (holds<std::uint8_t>(a.array)) return call(Tag<std::uint8_t>{});
  if (holds<std::uint16_t>(a.array)) return call(Tag<std::uint16_t>{});
  if (holds<float>(a.array)) return call(Tag<float>{});
  refuse(a.name, " has dtype ", dtype_of(a.array),
         "; it must be uint8, uint16 or float32 in this machine's byte order");
}

void require_writeable(const Argument& a) {
  if (!a.array.writeable()) refuse(a.name, " is read-only; it must be writeable");
}

// A dimension of one element may have any stride, and so may all of an empty array's: they are
// never stepped over.
template <class T>
void require_layout(const Argument& a, py::ssize_t dense_from) {
  const py::array& array = a.array;
  if (array.size() == 0) return;
  bool aligned = reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0;
  bool dense = true;
  py::ssize_t expected = static_cast<py::ssize_t>(sizeof(T));
  for (py::ssize_t axis = array.ndim() - 1; axis >= 0; --axis) {
    if (array.shape(axis) > 1) {
      aligned = aligned && array.strides(axis) % static_cast<py::ssize_t>(sizeof(T)) == 0;
      dense = dense && (axis < dense_from || array.strides(axis) == expected);
    }
    expected *= array.shape(axis);
  }
  if (!aligned) refuse(a.name, " is not aligned to its dtype; pass a copy of it");
  if (!dense) {
    refuse(a.name, " of shape ", shape_of(array), " is not contiguous from axis ", dense_from,
           " on; pass a contiguous copy of it");
  }
}

template <class T>
std::ptrdiff_t stride_of(const py::array& array, py::ssize_t axis) {
  if (array.shape(axis) <= 1) return 0;
  return array.strides(axis) / static_cast<py::ssize_t>(sizeof(T));
}

template <class T>
T* data_of(const py::array& array) {
  if constexpr (std::is_const_v<T>) {
    return static_cast<T*>(array.data());
  } else {
    return static_cast<T*>(const_cast<void*>(array.data()));  // writeable: checked before
  }
}

// (H, W, 1 or 3) with dense pixels; T is const for a source.
template <class T>
Image<T> image(const Argument& a) {
  using Sample = std::remove_const_t<T>;
  const py::array& array = a.array;
  if (array.ndim() != 3 || array.shape(0) < 1 || array.shape(1) < 1 ||
      (array.shape(2) != 1 && array.shape(2) != 3)) {
    refuse(a.name, " has shape ", shape_of(array),
           "; it must be (height, width, 1 or 3), none of them 0");
  }
  constexpr py::ssize_t kLargest = std::numeric_limits<std::int32_t>::max();
  if (array.shape(0) > kLargest || array.shape(1) > kLargest) {
    refuse(a.name, " has shape ", shape_of(array), "; a side may be at most ", kLargest);
  }
  if constexpr (!std::is_const_v<T>) require_writeable(a);
  require_layout<Sample>(a, 1);
  return {data_of<T>(array), array.shape(0), array.shape(1), array.shape(2),
          stride_of<Sample>(array, 0)};
}

// (3, h, w) float32 with dense rows.
Planes planes(const Argument& a) {
  const py::array& array = a.array;
  require_dtype<float>(a, "float32");
  if (array.ndim() != 3 || array.shape(0) != 3) {
    refuse(a.name, " has shape ", shape_of(array), "; it must be (3, height, width)");
  }
  require_layout<float>(a, 2);
  return {data_of<const float>(array), array.shape(1), array.shape(2), stride_of<float>(array, 0),
          stride_of<float>(array, 1)};
}

template <class T>
const T* vector(const Argument& a, std::int64_t length, const char* wanted) {
  require_dtype<T>(a, wanted);
  if (a.array.ndim() != 1 || a.array.shape(0) != length) {
    refuse(a.name, " has shape ", shape_of(a.array), "; it must be (", length, ",)");
  }
  require_layout<T>(a, 0);
  return data_of<const T>(a.array);
}

void require_rect(const char* name, const Rect& rect, std::int64_t width, std::int64_t height) {
  // By subtraction: a sum could overflow.
  const bool inside = rect.width >= 1 && rect.height >= 1 && rect.x >= 0 && rect.y >= 0 &&
                      rect.width <= width && rect.height <= height &&
                      rect.x <= width - rect.width && rect.y <= height - rect.height;
  if (!inside) {
    refuse("a rectangle of ", rect.width, " x ", rect.height, " at (", rect.x, ", ", rect.y,
           ") is empty or not inside ", name, ", which is ", width, " x ", height);
  }
}

using Isa = std::optional<std::string>;

void gather_into(const py::array& src, const py::array& xs, const py::array& ys,
                 const py::array& dst, const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Argument d{"dst", dst};
  require_dtype<float>(d, "float32");
  if (dst.ndim() != 4 || dst.shape(1) != 3 || dst.shape(2) < 1 || dst.shape(3) < 1) {
    refuse("dst has shape ", shape_of(dst), "; it must be (windows, 3, height, width)");
  }
  require_writeable(d);
  require_layout<float>(d, 0);
  const std::int64_t count = dst.shape(0);
  const Windows windows{vector<std::int64_t>({"xs", xs}, count, "int64"),
                        vector<std::int64_t>({"ys", ys}, count, "int64"), count, dst.shape(3),
                        dst.shape(2)};
  const Argument s{"src", src};
  with_sample_type(s, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Image<const T> from = image<const T>(s);
    const py::gil_scoped_release release;
    gather<T>(kernels, from, windows, data_of<float>(dst));
  });
}

std::size_t blend_into(const py::array& src, std::int64_t src_x, std::int64_t src_y,
                       const py::array& dst, std::int64_t dst_x, std::int64_t dst_y,
                       std::int64_t width, std::int64_t height, const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Planes from = planes({"src", src});
  require_rect("src", {src_x, src_y, width, height}, from.width, from.height);
  const Argument d{"dst", dst};
  return with_sample_type(d, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Image<T> to = image<T>(d);
    const Rect rect{dst_x, dst_y, width, height};
    require_rect("dst", rect, to.width, to.height);
    const py::gil_scoped_release release;
    return blend<T>(kernels, from, src_x, src_y, to, rect);
  });
}

void blend_feathered_into(const py::array& src, std::int64_t src_x, std::int64_t src_y,
                          const py::array& canvas, std::int64_t dst_x, std::int64_t dst_y,
                          std::int64_t width, std::int64_t height, const py::array& wx,
                          const py::array& wy, const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Planes from = planes({"src", src});
  require_rect("src", {src_x, src_y, width, height}, from.width, from.height);
  require_dtype<float>({"canvas", canvas}, "float32");
  const Image<float> to = image<float>({"canvas", canvas});
  const Rect rect{dst_x, dst_y, width, height};
  require_rect("canvas", rect, to.width, to.height);
  const float* across = vector<float>({"wx", wx}, width, "float32");
  const float* down = vector<float>({"wy", wy}, height, "float32");
  const py::gil_scoped_release release;
  blend_feathered(kernels, from, src_x, src_y, to, rect, across, down);
}

void require_same_size(const Argument& a, const Argument& b, py::ssize_t axes) {
  for (py::ssize_t axis = 0; axis < axes; ++axis) {
    if (a.array.shape(axis) != b.array.shape(axis)) {
      refuse(a.name, " has shape ", shape_of(a.array), " and ", b.name, " has shape ",
             shape_of(b.array), "; they must match");
    }
  }
}

std::size_t quantise_into(const py::array& src, const py::array& dst, const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Argument s{"src", src};
  const Argument d{"dst", dst};
  require_dtype<float>(s, "float32");
  const Image<const float> from = image<const float>(s);
  return with_sample_type(d, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Image<T> to = image<T>(d);
    require_same_size(s, d, 3);
    const py::gil_scoped_release release;
    return quantise<T>(kernels, from, to);
  });
}

void bleed_in_place(const py::array& colour, const py::array& alpha, std::int64_t iterations,
                    const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Argument c{"colour", colour};
  const Argument a{"alpha", alpha};
  if (iterations < 0) refuse("iterations is ", iterations, "; it must be 0 or more");
  with_sample_type(c, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Image<T> to = image<T>(c);
    if (!holds<T>(alpha)) {
      refuse("alpha has dtype ", dtype_of(alpha), "; it must be ", dtype_of(colour),
             " like colour");
    }
    if (alpha.ndim() != 2) {
      refuse("alpha has shape ", shape_of(alpha), "; it must be (height, width)");
    }
    require_same_size(c, a, 2);
    require_layout<T>(a, 1);
    const Image<const T> mask{data_of<const T>(alpha), to.height, to.width, 1,
                              stride_of<T>(alpha, 0)};
    const py::gil_scoped_release release;
    samples_of<T>(kernels).bleed(to, mask, iterations);
  });
}

py::tuple isas() {
  const auto& usable = levels();
  py::tuple names(usable.size());
  for (std::size_t i = 0; i < usable.size(); ++i) names[i] = py::str(usable[i].name);
  return names;
}

}  // namespace
}  // namespace waifu2x

// The kernels keep no state, so a Python without the GIL may call them at once.
PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
  using namespace waifu2x;
  m.doc() = "Native kernels; waifu2x.tiles and waifu2x.engines are their Python faces.";

  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto isa = py::arg("isa") = py::none();

  m.def("isa", [] { return best_level().name; }, "Name of the instruction set level in use.");
  m.def("isas", &isas, "Levels usable here, lowest first; WAIFU2X_CPU caps them.");
  m.def("gather", &gather_into, array("src"), array("xs"), array("ys"), array("dst"),
        py::kw_only(), isa, "Cut windows out of a picture into (windows, 3, height, width).");
  m.def("blend", &blend_into, array("src"), py::arg("src_x"), py::arg("src_y"), array("dst"),
        py::arg("dst_x"), py::arg("dst_y"), py::arg("width"), py::arg("height"), py::kw_only(),
        isa, "Write a rectangle of planes; returns how many samples were not finite.");
  m.def("blend_feathered", &blend_feathered_into, array("src"), py::arg("src_x"),
        py::arg("src_y"), array("canvas"), py::arg("dst_x"), py::arg("dst_y"), py::arg("width"),
        py::arg("height"), array("wx"), array("wy"), py::kw_only(), isa,
        "Add a weighted rectangle of planes to a float32 canvas.");
  m.def("quantise", &quantise_into, array("src"), array("dst"), py::kw_only(), isa,
        "Clamp and quantise a canvas; returns how many samples were not finite.");
  m.def("bleed", &bleed_in_place, array("colour"), array("alpha"), py::arg("iterations"),
        py::kw_only(), isa, "Spread colour under transparent pixels, in place.");
}
