// Binds the PNG row filters.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings/arguments.h"
#include "png/filter.h"

namespace waifu2x {
namespace {

using MaybeArray = std::optional<py::array>;

template <class T>
const char* const kDtype = sizeof(T) == 1 ? "uint8 like color" : "uint16 like color";

template <class T>
PngRows<T> png_rows(const Argument& color, const char* alpha_name, const MaybeArray& alpha) {
  const py::array& array = color.array;
  require_dtype<T>(color, kDtype<T>);
  if (array.ndim() != 3 || array.shape(0) < 1 || array.shape(1) < 1 || array.shape(2) < 1 ||
      array.shape(2) + (alpha ? 1 : 0) > 4) {
    refuse(color.name, " has shape ", shape_of(array),
           "; it must be (rows, width, channels), none of them 0, with at most 4 channels "
           "including alpha");
  }
  require_layout<T>(color, 1);
  PngRows<T> rows{{data_of<const T>(array), array.shape(0), array.shape(1), array.shape(2),
                   stride_of<T>(array, 0)},
                  nullptr,
                  0};
  if (alpha) {
    const Argument a{alpha_name, *alpha};
    require_dtype<T>(a, kDtype<T>);
    if (alpha->ndim() != 2 || alpha->shape(0) != array.shape(0) ||
        alpha->shape(1) != array.shape(1)) {
      refuse(a.name, " has shape ", shape_of(*alpha), " and ", color.name, " ", shape_of(array),
             "; they must match");
    }
    require_layout<T>(a, 1);
    rows.alpha = data_of<const T>(*alpha);
    rows.alpha_stride = stride_of<T>(*alpha, 0);
  }
  return rows;
}

template <class T>
void filter_rows(const Argument& color, const Argument& dst, const MaybeArray& alpha,
                 const MaybeArray& above_color, const MaybeArray& above_alpha) {
  const PngRows<T> rows = png_rows<T>(color, "alpha", alpha);
  std::optional<PngRows<T>> above;
  if (above_color) {
    above = png_rows<T>({"above_color", *above_color}, "above_alpha", above_alpha);
  }
  if (above ? above->color.width != rows.color.width ||
                  above->color.channels != rows.color.channels ||
                  above_alpha.has_value() != alpha.has_value()
            : above_alpha.has_value()) {
    refuse("above_color and above_alpha must have the width and channels of color and alpha");
  }
  require_dtype<std::uint8_t>(dst, "uint8");
  const auto row_bytes = static_cast<py::ssize_t>(rows.row_bytes());
  if (dst.array.ndim() != 2 || dst.array.shape(0) != rows.color.height ||
      dst.array.shape(1) != 1 + row_bytes) {
    refuse("dst has shape ", shape_of(dst.array), "; it must be (", rows.color.height, ", ",
           1 + row_bytes, ")");
  }
  require_writeable(dst);
  require_layout<std::uint8_t>(dst, 0);
  const py::gil_scoped_release release;
  filter_png<T>(rows, above ? &*above : nullptr, data_of<std::uint8_t>(dst.array));
}

void filter_any(const py::array& color, const py::array& dst, const MaybeArray& alpha,
                const MaybeArray& above_color, const MaybeArray& above_alpha) {
  const Argument c{"color", color}, d{"dst", dst};
  if (holds<std::uint8_t>(color)) {
    filter_rows<std::uint8_t>(c, d, alpha, above_color, above_alpha);
  } else if (holds<std::uint16_t>(color)) {
    filter_rows<std::uint16_t>(c, d, alpha, above_color, above_alpha);
  } else {
    refuse("color has dtype ", dtype_of(color),
           "; it must be uint8 or uint16 in this machine's byte order");
  }
}

}  // namespace

void bind_png_filter(py::module_& m) {
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto maybe = [&](const char* name) { return array(name) = py::none(); };
  m.def("filter_png", &filter_any, array("color"), array("dst"), py::kw_only(), maybe("alpha"),
        maybe("above_color"), maybe("above_alpha"),
        "Filter rows of a picture for PNG; each row starts with its filter type.");
}

}  // namespace waifu2x
