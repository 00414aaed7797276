// The network engine for Python: a pool of threads, and programs that run on it.

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bindings/arguments.h"
#include "engine/executor.h"
#include "engine/pool.h"
#include "engine/program.h"
#include "bindings/gil.h"

namespace waifu2x {
namespace {

using engine::Range;
using engine::Ref;

using FloatArray = py::array_t<float, py::array::c_style>;
using Place = std::pair<int, int>;  // a value and a cut
// Called with the share done and the rows that are ready; returns whether to stop.
using Callback = std::optional<py::function>;

// A program, and what its runs share.
struct Compiled {
  Compiled(int channels, const Isa& isa)
      : program(channels), kernels(kernels_for(isa)), channels_in(channels) {}

  engine::Program program;
  const Kernels& kernels;
  engine::WholeCache cache;
  const int channels_in;
};

Ref ref(const Place& place) { return {place.first, place.second}; }

Ref optional_ref(const std::optional<Place>& place) { return place ? ref(*place) : Ref{}; }

const float* vector_of(const char* name, const FloatArray& array, int length) {
  if (array.ndim() != 1 || array.shape(0) != length) {
    refuse(name, " has shape ", shape_of(array), "; it must be (", length, ",)");
  }
  return array.data();
}

engine::Program::ConvSpec spec_of(const FloatArray& weight, const FloatArray& bias,
                                  const FloatArray& slope, int stride, int padding,
                                  bool transposed) {
  if (weight.ndim() != 4 || weight.shape(2) != weight.shape(3)) {
    refuse("weight has shape ", shape_of(weight), "; it must be (out, in, k, k)");
  }
  const int out = static_cast<int>(weight.shape(transposed ? 1 : 0));
  const int in = static_cast<int>(weight.shape(transposed ? 0 : 1));
  return {weight.data(), vector_of("bias", bias, out), vector_of("slope", slope, out), in, out,
          static_cast<int>(weight.shape(2)), stride, padding, transposed};
}

std::vector<const float*> givens_of(const Compiled& compiled, const std::vector<FloatArray>& means,
                                    py::ssize_t batch, py::ssize_t item) {
  std::vector<const float*> givens;
  const auto& pooled = compiled.program.pooled();
  for (const engine::Pooled& p : pooled) {
    if (p.kind != engine::Pooled::Kind::given) continue;
    if (givens.size() == means.size()) refuse("too few means for this network");
    const FloatArray& mean = means[givens.size()];
    if (mean.ndim() != 4 || (mean.shape(0) != 1 && mean.shape(0) != batch) ||
        mean.shape(1) != p.channels || mean.shape(2) != 1 || mean.shape(3) != 1) {
      refuse("a mean has shape ", shape_of(mean), "; it must be (1 or ", batch, ", ", p.channels,
             ", 1, 1)");
    }
    givens.push_back(mean.data() + (mean.shape(0) == 1 ? 0 : item * p.channels));
  }
  if (givens.size() != means.size()) refuse("too many means for this network");
  return givens;
}

// Which rows of a result are complete, from the top; written by many threads, read by one.
class ReadyRows {
 public:
  ReadyRows(std::int64_t rows, std::int64_t width)
      : written_(static_cast<std::size_t>(rows)), width_(width) {}

  void add(std::int64_t row, int pixels) {
    written_[static_cast<std::size_t>(row)].fetch_add(pixels, std::memory_order_release);
  }
  std::size_t count() {
    while (ready_ < written_.size() &&
           written_[ready_].load(std::memory_order_acquire) == width_) {
      ++ready_;
    }
    return ready_;
  }

 private:
  std::vector<std::atomic<std::int64_t>> written_;
  const std::int64_t width_;
  std::size_t ready_ = 0;
};

// Lets signals through, and the caller's function, while workers compute.
class Watch {
 public:
  Watch(const Callback& callback, ReadyRows* rows) : callback_(callback), rows_(rows) {}

  std::atomic<double> share{0};

  // Stops a run: a function for Pool, to be called without the lock.
  engine::Pool::Poll poll(Unlocked& unlocked) {
    return [this, &unlocked] {
      return unlocked.locked([this] {
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        if (!callback_) return false;
        return (*callback_)(share.load(), rows_ == nullptr ? 0 : rows_->count()).cast<bool>();
      });
    };
  }

 private:
  const Callback& callback_;
  ReadyRows* rows_;
};

struct PlaneSource : engine::Source {
  const float* data;
  int channels, height, width;

  PlaneSource(const float* d, int c, int h, int w) : data(d), channels(c), height(h), width(w) {}
  void read(int y, int x, int n, float* planes, std::ptrdiff_t stride) const override {
    for (int c = 0; c < channels; ++c) {
      std::memcpy(planes + c * stride,
                  data + (static_cast<std::ptrdiff_t>(c) * height + y) * width + x,
                  static_cast<std::size_t>(n) * sizeof(float));
    }
  }
};

// Dense planes of a part of the results, whose first row and column are `top` and `left`.
struct PartSink : engine::Sink {
  float* data;
  std::int64_t height, width, top, left;
  int channels;

  PartSink(float* d, std::int64_t h, std::int64_t w, std::int64_t y, std::int64_t x, int c = 3)
      : data(d), height(h), width(w), top(y), left(x), channels(c) {}
  void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) override {
    for (int c = 0; c < channels; ++c) {
      std::memcpy(data + (c * height + (y - top)) * width + (x - left), planes + c * stride,
                  static_cast<std::size_t>(n) * sizeof(float));
    }
  }
};

// A picture, seen through a window whose top left lies at (left, top) of it.
template <class T>
struct PictureSource : engine::Source {
  const Kernels& kernels;
  Image<const T> picture;
  std::int64_t left, top;

  PictureSource(const Kernels& k, const Image<const T>& p, std::int64_t x, std::int64_t y)
      : kernels(k), picture(p), left(x), top(y) {}
  void read(int y, int x, int n, float* planes, std::ptrdiff_t) const override {
    const std::int64_t column = left + x, row = top + y;
    gather<T>(kernels, picture, {&column, &row, 1, n, 1}, planes);
  }
};

// Row `top` and column `left` of the results are the picture's first.
template <class T>
struct PictureSink : engine::Sink {
  const Kernels& kernels;
  Image<T> picture;
  std::int64_t left, top;
  ReadyRows& ready;
  std::atomic<std::size_t> not_finite{0};

  PictureSink(const Kernels& k, const Image<T>& p, std::int64_t x, std::int64_t y, ReadyRows& r)
      : kernels(k), picture(p), left(x), top(y), ready(r) {}
  void write(int y, int x, int n, const float* planes, std::ptrdiff_t stride) override {
    const Planes row{planes, 1, n, stride, stride};
    const std::size_t bad = blend<T>(kernels, row, 0, 0, picture, {x - left, y - top, n, 1});
    if (bad > 0) not_finite += bad;
    ready.add(y - top, n);
  }
};

int side(const char* name, py::ssize_t size) {
  constexpr py::ssize_t kLargest = 1 << 26;  // Program::sizes checks what becomes of it
  if (size < 1 || size > kLargest) {
    refuse(name, " is ", size, " px; a side may have 1 to ", kLargest);
  }
  return static_cast<int>(size);
}

struct Output {
  int height, width;
};

Output output_of(const Compiled& compiled, int height, int width) {
  const Ref out = compiled.program.output();
  if (out.value < 0) refuse("the program is not finished");
  const auto size = [&](int n) {
    return compiled.program.sizes(n)[static_cast<std::size_t>(out.value)] - 2 * out.offset;
  };
  const Output output{size(height), size(width)};
  if (output.height < 1 || output.width < 1) refuse("the input leaves nothing of this network");
  return output;
}

void require_rgb(const Compiled& compiled) {
  if (compiled.channels_in != 3 ||
      compiled.program.channels(compiled.program.output().value) != 3) {
    refuse("only a network from 3 channels to 3 runs over a picture");
  }
}

py::array_t<float> run_batch(Compiled& compiled, engine::Pool& pool,
                                            const FloatArray& batch,
                                            const std::vector<FloatArray>& means) {
  if (batch.ndim() != 4 || batch.shape(1) != compiled.channels_in) {
    refuse("batch has shape ", shape_of(batch), "; it must be (N, ", compiled.channels_in,
           ", height, width)");
  }
  const int height = side("the height", batch.shape(2)), width = side("the width", batch.shape(3));
  const Output output = output_of(compiled, height, width);
  const int channels = compiled.program.channels(compiled.program.output().value);
  py::array_t<float> result({batch.shape(0), static_cast<py::ssize_t>(channels),
                             static_cast<py::ssize_t>(output.height),
                             static_cast<py::ssize_t>(output.width)});
  const Callback none;
  Watch watch(none, nullptr);
  for (py::ssize_t n = 0; n < batch.shape(0); ++n) {
    const PlaneSource source(batch.data(n), compiled.channels_in, height, width);
    PartSink sink(result.mutable_data(n), output.height, output.width, 0, 0, channels);
    engine::Job job{compiled.program,   compiled.kernels.engine,
                    pool,               compiled.cache,
                    height,             width,
                    {0, output.height}, {0, output.width},
                    givens_of(compiled, means, batch.shape(0), n),
                    source,             sink,
                    &watch.share,       nullptr};
    Unlocked unlocked;
    job.poll = watch.poll(unlocked);
    engine::execute(job);
  }
  return result;
}

std::optional<std::size_t> run_picture(Compiled& compiled, engine::Pool& pool,
                                       const py::array& src, const py::array& dst,
                                       std::pair<int, int> window_start,
                                       std::pair<int, int> window_size,
                                       std::pair<int, int> crop,
                                       const std::vector<FloatArray>& means,
                                       const Callback& callback) {
  require_rgb(compiled);
  const int height = side("the height", window_size.first);
  const int width = side("the width", window_size.second);
  const Output output = output_of(compiled, height, width);
  const Argument s{"src", src}, d{"dst", dst};
  return with_sample_type(s, [&](auto in_tag) {
    using In = typename decltype(in_tag)::type;
    const PictureSource<In> source(compiled.kernels, image<const In>(s), window_start.second,
                                   window_start.first);
    return with_sample_type(d, [&](auto out_tag) -> std::optional<std::size_t> {
      using Out = typename decltype(out_tag)::type;
      const Image<Out> to = image<Out>(d);
      require_rect("the output", {crop.second, crop.first, to.width, to.height}, output.width,
                   output.height);
      ReadyRows ready(to.height, to.width);
      PictureSink<Out> sink(compiled.kernels, to, crop.second, crop.first, ready);
      Watch watch(callback, &ready);
      engine::Job job{
          compiled.program,
          compiled.kernels.engine,
          pool,
          compiled.cache,
          height,
          width,
          {crop.first, crop.first + static_cast<int>(to.height)},
          {crop.second, crop.second + static_cast<int>(to.width)},
          givens_of(compiled, means, 1, 0),
          source,
          sink,
          &watch.share,
          nullptr};
      Unlocked unlocked;
      job.poll = watch.poll(unlocked);
      if (!engine::execute(job)) return std::nullopt;
      return sink.not_finite.load();
    });
  });
}

py::array_t<float> run_part(Compiled& compiled, engine::Pool& pool, const py::array& src,
                            std::pair<int, int> window_start, std::pair<int, int> window_size,
                            std::pair<int, int> rows, std::pair<int, int> columns,
                            const std::vector<FloatArray>& means) {
  require_rgb(compiled);
  const int height = side("the height", window_size.first);
  const int width = side("the width", window_size.second);
  const Output output = output_of(compiled, height, width);
  const std::int64_t part_height = std::int64_t{rows.second} - rows.first;
  const std::int64_t part_width = std::int64_t{columns.second} - columns.first;
  require_rect("the output", {columns.first, rows.first, part_width, part_height}, output.width,
               output.height);
  py::array_t<float> result({py::ssize_t{1}, py::ssize_t{3}, static_cast<py::ssize_t>(part_height),
                             static_cast<py::ssize_t>(part_width)});
  PartSink sink(result.mutable_data(), part_height, part_width, rows.first, columns.first);
  const Callback none;
  Watch watch(none, nullptr);
  const Argument s{"src", src};
  with_sample_type(s, [&](auto tag) {
    using In = typename decltype(tag)::type;
    const PictureSource<In> source(compiled.kernels, image<const In>(s), window_start.second,
                                   window_start.first);
    engine::Job job{compiled.program,
                          compiled.kernels.engine,
                          pool,
                          compiled.cache,
                          height,
                          width,
                          {rows.first, rows.second},
                          {columns.first, columns.second},
                          givens_of(compiled, means, 1, 0),
                          source,
                          sink,
                          &watch.share,
                          nullptr};
    Unlocked unlocked;
    job.poll = watch.poll(unlocked);
    engine::execute(job);
  });
  return result;
}

// Billions of operations a second in multiply-adds that wait for nothing: no network can do more.
double fma_peak(const std::string& isa, int threads) {
  const engine::Kernels& kernels = level(isa).kernels.engine;
  if (threads < 1) refuse("threads is ", threads, "; it must be at least 1");
  constexpr std::ptrdiff_t kRounds = 2'000'000;
  const Unlocked unlocked;
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    std::vector<std::thread> workers;
    std::atomic<double> operations{0};
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < threads; ++i) {
      workers.emplace_back([&] {
        const double done = kernels.chains(kRounds);
        double before = operations.load();
        while (!operations.compare_exchange_weak(before, before + done)) {
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, operations.load() / seconds.count() * 1e-9);
  }
  return best;
}

}  // namespace

void bind_engine(py::module_& m) {
  using engine::Pool;
  m.def("fma_peak", &fma_peak, py::arg("isa"), py::arg("threads"),
        "GFLOP/s of multiply-adds in registers, the best of five tries.");

  const auto array = [](const char* name) { return py::arg(name).noconvert(); };

  py::class_<Pool>(m, "Pool", "Threads that sleep while there is nothing to compute.")
      .def(py::init<int>(), py::arg("threads"))
      .def_property_readonly("threads", &Pool::threads);

  py::class_<Compiled>(m, "Program", "A network, lowered; built value by value, then run.")
      .def(py::init<int, const Isa&>(), py::arg("channels"), py::kw_only(),
           py::arg("isa") = py::none())
      .def(
          "conv",
          [](Compiled& c, const Place& source, const FloatArray& weight, const FloatArray& bias,
             const FloatArray& slope, int stride, int padding, bool transposed,
             const std::optional<Place>& addend) {
            return c.program.conv(ref(source),
                                  spec_of(weight, bias, slope, stride, padding, transposed),
                                  optional_ref(addend));
          },
          py::arg("source"), array("weight"), array("bias"), array("slope"), py::kw_only(),
          py::arg("stride"), py::arg("padding"), py::arg("transposed"), py::arg("addend"))
      .def("add", [](Compiled& c, const Place& a, const Place& b) {
        return c.program.add(ref(a), ref(b));
      })
      .def("multiply", [](Compiled& c, const Place& source, int gate) {
        return c.program.multiply(ref(source), gate);
      })
      .def("affine", [](Compiled& c, const Place& source, float scale, float offset) {
        return c.program.affine(ref(source), scale, offset);
      })
      .def("activate",
           [](Compiled& c, const Place& source, const FloatArray& slope) {
             return c.program.activate(ref(source), slope.data(), slope.ndim() == 1
                                                                       ? static_cast<int>(slope.size())
                                                                       : -1);
           })
      .def("sigmoid",
           [](Compiled& c, const Place& source) { return c.program.sigmoid(ref(source)); })
      .def("concat",
           [](Compiled& c, const std::vector<Place>& sources) {
             std::vector<Ref> refs;
             for (const Place& source : sources) refs.push_back(ref(source));
             return c.program.concat(refs);
           })
      .def("upsample", [](Compiled& c, const Place& source, int factor) {
        return c.program.upsample(ref(source), factor);
      })
      .def("shuffle", [](Compiled& c, const Place& source, int factor) {
        return c.program.shuffle(ref(source), factor);
      })
      .def("given", [](Compiled& c, int channels) { return c.program.given(channels); })
      .def("mean", [](Compiled& c, const Place& source) { return c.program.mean(ref(source)); })
      .def("pooled_conv",
           [](Compiled& c, int source, const FloatArray& weight, const FloatArray& bias,
              const FloatArray& slope, bool sigmoid) {
             return c.program.pooled_conv(source, spec_of(weight, bias, slope, 1, 0, false),
                                          sigmoid);
           })
      .def("finish", [](Compiled& c, const Place& output) { c.program.finish(ref(output)); })
      .def_property_readonly("weight_bytes",
                             [](const Compiled& c) { return c.program.weight_bytes(); })
      .def("run", &run_batch, py::arg("pool"), array("batch"), py::arg("means"),
           "(N, C, H, W) float32 to (N, C', H', W').")
      .def("run_picture", &run_picture, py::arg("pool"), array("src"), array("dst"),
           py::kw_only(), py::arg("window_start"), py::arg("window_size"), py::arg("crop"),
           py::arg("means"), py::arg("watch") = py::none(),
           "A picture into a picture; returns how many samples were not finite, None if stopped.")
      .def("run_part", &run_part, py::arg("pool"), array("src"), py::kw_only(),
           py::arg("window_start"), py::arg("window_size"), py::arg("rows"), py::arg("columns"),
           py::arg("means"), "Part of what the network makes of a picture, unclamped.");
}

}  // namespace waifu2x
