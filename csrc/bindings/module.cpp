// The native extension module: checks each array and rectangle, releases the GIL and calls the
// kernels. A bad argument raises ValueError before any memory is accessed.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/arguments.h"
#include "color_fix.h"
#include "tiles.h"

namespace waifu2x {

void bind_engine(py::module_& m);
void bind_png_filter(py::module_& m);

namespace {

#define WAIFU2X_TEXT_OF(macro) WAIFU2X_TEXT(macro)
#define WAIFU2X_TEXT(words) #words

// The compiler of this module, for reports of defects.
constexpr const char* kCompiler =
#if defined(__clang__)
    "Clang " __clang_version__;
#elif defined(__GNUC__)
    "GCC " __VERSION__;
#elif defined(_MSC_FULL_VER)
    "MSVC " WAIFU2X_TEXT_OF(_MSC_FULL_VER);
#else
    "unknown";
#endif

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

std::size_t quantize_into(const py::array& src, const py::array& dst, const Isa& isa) {
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
    return quantize<T>(kernels, from, to);
  });
}

void bleed_in_place(const py::array& color, const py::array& alpha, std::int64_t iterations,
                    const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Argument c{"color", color};
  const Argument a{"alpha", alpha};
  if (iterations < 0) refuse("iterations is ", iterations, "; it must be 0 or more");
  with_sample_type(c, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Image<T> to = image<T>(c);
    if (!holds<T>(alpha)) {
      refuse("alpha has dtype ", dtype_of(alpha), "; it must be ", dtype_of(color),
             " like color");
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

void fix_colors_into(const py::array& source, const py::array& result, const py::array& out,
                     std::int64_t scale, std::int64_t first, const Isa& isa) {
  const Kernels& kernels = kernels_for(isa);
  const Argument s{"source", source};
  const Argument r{"result", result};
  const Argument o{"out", out};
  require_dtype<float>(r, "float32");
  require_dtype<float>(o, "float32");
  const Image<const float> from = image<const float>(r);
  const Image<float> to = image<float>(o);
  constexpr std::int64_t kMaxScale = 1 << 15;
  if (scale < 1 || scale > kMaxScale) {
    refuse("scale is ", scale, "; it must be from 1 to ", kMaxScale);
  }
  with_sample_type(s, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Image<const T> colors = image<const T>(s);
    if (from.height != colors.height * scale || from.width != colors.width * scale ||
        from.channels != colors.channels) {
      refuse("result has shape ", shape_of(result), "; it must be ", scale, " times source, ",
             shape_of(source));
    }
    if (to.width != from.width || to.channels != from.channels || to.height % scale != 0 ||
        first < 0 || first > colors.height - to.height / scale) {
      refuse("out has shape ", shape_of(out), "; it must be rows of result, ", shape_of(result),
             ", from ", scale, " times ", first, " on");
    }
    const py::gil_scoped_release release;
    fix_colors<T>(kernels, colors, from, to, scale, first);
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

// The kernels are stateless, hence safe in a free-threaded Python.
PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
  using namespace waifu2x;
  m.doc() = "Native kernels for tiles and PNG, and the network engine.";

  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto isa = py::arg("isa") = py::none();

  m.attr("compiler") = kCompiler;
  m.def("isa", [] { return best_level().name; }, "Name of the instruction set in use.");
  m.def("isas", &isas, "Usable instruction sets, lowest first; WAIFU2X_CPU caps them.");
  m.def("gather", &gather_into, array("src"), array("xs"), array("ys"), array("dst"),
        py::kw_only(), isa, "Copy windows of a picture to (windows, 3, height, width) float32.");
  m.def("blend", &blend_into, array("src"), py::arg("src_x"), py::arg("src_y"), array("dst"),
        py::arg("dst_x"), py::arg("dst_y"), py::arg("width"), py::arg("height"), py::kw_only(),
        isa, "Write a rectangle of planes; returns how many samples were not finite.");
  m.def("blend_feathered", &blend_feathered_into, array("src"), py::arg("src_x"),
        py::arg("src_y"), array("canvas"), py::arg("dst_x"), py::arg("dst_y"), py::arg("width"),
        py::arg("height"), array("wx"), array("wy"), py::kw_only(), isa,
        "Add a weighted rectangle of planes to a float32 canvas.");
  m.def("quantize", &quantize_into, array("src"), array("dst"), py::kw_only(), isa,
        "Clamp and quantize a canvas; returns how many samples were not finite.");
  m.def("bleed", &bleed_in_place, array("color"), array("alpha"), py::arg("iterations"),
        py::kw_only(), isa, "Spread color under transparent pixels, in place.");
  m.def("fix_colors", &fix_colors_into, array("source"), array("result"), array("out"),
        py::arg("scale"), py::arg("first"), py::kw_only(), isa,
        "Match the low frequencies of rows of a result to its source.");
  bind_engine(m);
  bind_png_filter(m);
}
