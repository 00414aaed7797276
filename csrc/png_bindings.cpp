// PNG's row filters for Python; waifu2x/codec/png.py is their face.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "arguments.h"
#include "png_filter.h"

namespace waifu2x {
namespace {

using MaybeArray = std::optional<py::array>;

template <class T>
const char* const kDtype = sizeof(T) == 1 ? "uint8 like colour" : "uint16 like colour";

template <class T>
PngRows<T> png_rows(const Argument& colour, const char* alpha_name, const MaybeArray& alpha) {
  const py::array& array = colour.array;
  require_dtype<T>(colour, kDtype<T>);
  if (array.ndim() != 3 || array.shape(0) < 1 || array.shape(1) < 1 || array.shape(2) < 1 ||
      array.shape(2) + (alpha ? 1 : 0) > 4) {
    refuse(colour.name, " has shape ", shape_of(array),
           "; it must be (rows, width, channels), none of them 0, with at most 4 channels, one of "
           "which may be alpha");
  }
  require_layout<T>(colour, 1);
  PngRows<T> rows{{data_of<const T>(array), array.shape(0), array.shape(1), array.shape(2),
                   stride_of<T>(array, 0)},
                  nullptr,
                  0};
  if (alpha) {
    const Argument a{alpha_name, *alpha};
    require_dtype<T>(a, kDtype<T>);
    if (alpha->ndim() != 2 || alpha->shape(0) != array.shape(0) ||
        alpha->shape(1) != array.shape(1)) {
      refuse(a.name, " has shape ", shape_of(*alpha), " and ", colour.name, " ", shape_of(array),
             "; they must match");
    }
    require_layout<T>(a, 1);
    rows.alpha = data_of<const T>(*alpha);
    rows.alpha_stride = stride_of<T>(*alpha, 0);
  }
  return rows;
}

template <class T>
void filter_rows(const Argument& colour, const Argument& dst, const MaybeArray& alpha,
                 const MaybeArray& above_colour, const MaybeArray& above_alpha) {
  const PngRows<T> rows = png_rows<T>(colour, "alpha", alpha);
  std::optional<PngRows<T>> above;
  if (above_colour) {
    above = png_rows<T>({"above_colour", *above_colour}, "above_alpha", above_alpha);
  }
  if (above ? above->colour.width != rows.colour.width ||
                  above->colour.channels != rows.colour.channels ||
                  above_alpha.has_value() != alpha.has_value()
            : above_alpha.has_value()) {
    refuse("above_colour and above_alpha must have the width and channels of colour and alpha");
  }
  require_dtype<std::uint8_t>(dst, "uint8");
  const auto row_bytes = static_cast<py::ssize_t>(rows.row_bytes());
  if (dst.array.ndim() != 2 || dst.array.shape(0) != rows.colour.height ||
      dst.array.shape(1) != 1 + row_bytes) {
    refuse("dst has shape ", shape_of(dst.array), "; it must be (", rows.colour.height, ", ",
           1 + row_bytes, ")");
  }
  require_writeable(dst);
  require_layout<std::uint8_t>(dst, 0);
  const py::gil_scoped_release release;
  filter_png<T>(rows, above ? &*above : nullptr, data_of<std::uint8_t>(dst.array));
}

void filter_any(const py::array& colour, const py::array& dst, const MaybeArray& alpha,
                const MaybeArray& above_colour, const MaybeArray& above_alpha) {
  const Argument c{"colour", colour}, d{"dst", dst};
  if (holds<std::uint8_t>(colour)) {
    filter_rows<std::uint8_t>(c, d, alpha, above_colour, above_alpha);
  } else if (holds<std::uint16_t>(colour)) {
    filter_rows<std::uint16_t>(c, d, alpha, above_colour, above_alpha);
  } else {
    refuse("colour has dtype ", dtype_of(colour),
           "; it must be uint8 or uint16 in this machine's byte order");
  }
}

}  // namespace

void bind_png_filter(py::module_& m) {
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto maybe = [&](const char* name) { return array(name) = py::none(); };
  m.def("filter_png", &filter_any, array("colour"), array("dst"), py::kw_only(), maybe("alpha"),
        maybe("above_colour"), maybe("above_alpha"),
        "Filter rows of a picture for PNG; each is led by the number of its filter.");
}

}  // namespace waifu2x
