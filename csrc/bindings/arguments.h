// Checks of Python arguments, shared by the bindings. A bad argument raises ValueError before any
// memory is accessed.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>

#include "dispatch.h"
#include "tiles.h"

namespace py = pybind11;

namespace waifu2x {
namespace {  // internal linkage: no file uses all functions

using Isa = std::optional<std::string>;

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw py::value_error(message.str());
}

inline std::string shape_of(const py::array& array) { return py::str(array.attr("shape")); }
inline std::string dtype_of(const py::array& array) { return py::str(array.dtype()); }

inline const Kernels& kernels_for(const std::optional<std::string>& isa) {
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
void require_dtype(const Argument& a, const char* dtype) {
  if (!holds<T>(a.array)) {
    refuse(a.name, " has dtype ", dtype_of(a.array), "; it must be ", dtype);
  }
}

template <class T>
struct Tag {
  using type = T;
};

// Calls `call` with the Tag of the array's sample type.
template <class Call>
auto with_sample_type(const Argument& a, Call call) {
  if (holds<std::uint8_t>(a.array)) return call(Tag<std::uint8_t>{});
  if (holds<std::uint16_t>(a.array)) return call(Tag<std::uint16_t>{});
  if (holds<float>(a.array)) return call(Tag<float>{});
  refuse(a.name, " has dtype ", dtype_of(a.array),
         "; it must be uint8, uint16 or float32 in this machine's byte order");
}

inline void require_writeable(const Argument& a) {
  if (!a.array.writeable()) refuse(a.name, " is read-only; it must be writeable");
}

// Checks alignment, and that the axes from `dense_from` on are contiguous. The stride of an axis of
// length 1 and the strides of an empty array are arbitrary: no code uses them.
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
    return static_cast<T*>(const_cast<void*>(array.data()));  // require_writeable has passed
  }
}

// (height, width, 1 or 3) with contiguous pixels; T is const for a source.
template <class T>
Image<T> image(const Argument& a) {
  using Sample = std::remove_const_t<T>;
  const py::array& array = a.array;
  if (array.ndim() != 3 || array.shape(0) < 1 || array.shape(1) < 1 ||
      (array.shape(2) != 1 && array.shape(2) != 3)) {
    refuse(a.name, " has shape ", shape_of(array),
           "; it must be (height, width, 1 or 3), none of them 0");
  }
  constexpr py::ssize_t kMaxSide = std::numeric_limits<std::int32_t>::max();
  if (array.shape(0) > kMaxSide || array.shape(1) > kMaxSide) {
    refuse(a.name, " has shape ", shape_of(array), "; a side may be at most ", kMaxSide);
  }
  if constexpr (!std::is_const_v<T>) require_writeable(a);
  require_layout<Sample>(a, 1);
  return {data_of<T>(array), array.shape(0), array.shape(1), array.shape(2),
          stride_of<Sample>(array, 0)};
}

// (3, height, width) float32 with contiguous rows.
inline Planes planes(const Argument& a) {
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
const T* vector(const Argument& a, std::int64_t length, const char* dtype) {
  require_dtype<T>(a, dtype);
  if (a.array.ndim() != 1 || a.array.shape(0) != length) {
    refuse(a.name, " has shape ", shape_of(a.array), "; it must be (", length, ",)");
  }
  require_layout<T>(a, 0);
  return data_of<const T>(a.array);
}

inline void require_rect(const char* name, const Rect& rect, std::int64_t width,
                         std::int64_t height) {
  // Subtracts, since sums could overflow.
  const bool inside = rect.width >= 1 && rect.height >= 1 && rect.x >= 0 && rect.y >= 0 &&
                      rect.width <= width && rect.height <= height &&
                      rect.x <= width - rect.width && rect.y <= height - rect.height;
  if (!inside) {
    refuse("a rectangle of ", rect.width, " x ", rect.height, " at (", rect.x, ", ", rect.y,
           ") is empty or not inside ", name, ", which is ", width, " x ", height);
  }
}

}  // namespace
}  // namespace waifu2x
