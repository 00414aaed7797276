// Binds the network engine: a pool of threads, and programs that run on the pool.

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/gil.h"
#include "engine/executor.h"
#include "engine/io.h"
#include "engine/pool.h"
#include "engine/program.h"

namespace waifu2x {
namespace {

using engine::Range;
using engine::Ref;

using FloatArray = py::array_t<float, py::array::c_style>;
using Means = std::vector<FloatArray>;
using RefPair = std::pair<int, int>;  // a value and its crop
using Pair = std::pair<int, int>;     // (vertical, horizontal), or (begin, end)
// callback(share done, complete rows) returns whether to stop.
using Callback = std::optional<py::function>;

// A program and the state that its runs share.
struct Compiled {
  Compiled(int channels, const Isa& isa)
      : program(channels), kernels(kernels_for(isa)), channels_in(channels) {}

  engine::Program program;
  const Kernels& kernels;
  engine::BufferCache cache;
  const int channels_in;
};

Ref ref(const RefPair& pair) { return {pair.first, pair.second}; }

std::vector<Ref> refs(const std::vector<RefPair>& pairs) {
  std::vector<Ref> all;
  for (const RefPair& pair : pairs) all.push_back(ref(pair));
  return all;
}

Ref optional_ref(const std::optional<RefPair>& pair) { return pair ? ref(*pair) : Ref{}; }

engine::Function function_of(const std::string& name) {
  if (name == "identity") return engine::Function::identity;
  if (name == "sigmoid") return engine::Function::sigmoid;
  if (name == "silu") return engine::Function::silu;
  if (name == "tanh") return engine::Function::tanh;
  refuse("no function is named ", name);
}

Range range(const Pair& pair) { return {pair.first, pair.second}; }

const float* vector_of(const char* name, const FloatArray& array, int length) {
  if (array.ndim() != 1 || array.shape(0) != length) {
    refuse(name, " has shape ", shape_of(array), "; it must be (", length, ",)");
  }
  return array.data();
}

engine::Program::ConvSpec spec_of(const FloatArray& weight, const FloatArray& bias,
                                  const FloatArray& slope, int stride, int padding) {
  if (weight.ndim() != 4 || weight.shape(2) != weight.shape(3)) {
    refuse("weight has shape ", shape_of(weight), "; it must be (out, in, k, k)");
  }
  engine::Program::ConvSpec spec = {};
  spec.out = static_cast<int>(weight.shape(0));
  spec.in = static_cast<int>(weight.shape(1));
  spec.kernel = static_cast<int>(weight.shape(2));
  spec.stride = stride;
  spec.padding = padding;
  spec.weight = weight.data();
  spec.bias = vector_of("bias", bias, spec.out);
  spec.slope = vector_of("slope", slope, spec.out);
  return spec;
}

// One vector for each pooled input; `item` is the index in a batch.
std::vector<const float*> pooled_inputs_of(const Compiled& compiled, const Means& means,
                                           py::ssize_t batch, py::ssize_t item) {
  std::vector<const float*> inputs;
  for (const engine::Pooled& pooled : compiled.program.pooled()) {
    if (pooled.kind != engine::Pooled::Kind::input) continue;
    if (inputs.size() == means.size()) refuse("too few means for this network");
    const FloatArray& mean = means[inputs.size()];
    if (mean.ndim() != 4 || (mean.shape(0) != 1 && mean.shape(0) != batch) ||
        mean.shape(1) != pooled.channels || mean.shape(2) != 1 || mean.shape(3) != 1) {
      refuse("a mean has shape ", shape_of(mean), "; it must be (1 or ", batch, ", ",
             pooled.channels, ", 1, 1)");
    }
    inputs.push_back(mean.data() + (mean.shape(0) == 1 ? 0 : item * pooled.channels));
  }
  if (inputs.size() != means.size()) refuse("too many means for this network");
  return inputs;
}

// Reports progress to the callback and checks for signals while workers compute.
class RunMonitor {
 public:
  explicit RunMonitor(const Callback& callback = std::nullopt, engine::ReadyRows* rows = nullptr)
      : callback_(callback), rows_(rows) {}

  std::atomic<double> share{0};

  // The poll function of a run; to be called without the GIL.
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
  const Callback callback_;
  engine::ReadyRows* rows_;
};

int side(const char* name, py::ssize_t size) {
  constexpr py::ssize_t kMax = 1 << 26;  // Program::sizes checks the sizes derived from this
  if (size < 1 || size > kMax) refuse(name, " is ", size, " px; a side may have 1 to ", kMax);
  return static_cast<int>(size);
}

struct Size {
  int height, width;
};

Size size_of(py::ssize_t height, py::ssize_t width) {
  return {side("the height", height), side("the width", width)};
}

Size output_size(const Compiled& compiled, const Size& input) {
  const Ref out = compiled.program.output();
  if (out.value < 0) refuse("the program is not finished");
  const auto size = [&](int n) {
    return compiled.program.sizes(n)[engine::index(out.value)] - 2 * out.offset;
  };
  const Size output{size(input.height), size(input.width)};
  if (output.height < 1 || output.width < 1) refuse("the input leaves nothing of this network");
  return output;
}

int output_channels(const Compiled& compiled) {
  return compiled.program.channels(compiled.program.output().value);
}

void require_rgb(const Compiled& compiled) {
  if (compiled.channels_in != 3 || output_channels(compiled) != 3) {
    refuse("only a network from 3 channels to 3 runs over a picture");
  }
}

// Computes rows and columns of the output; returns false if the callback stopped the run.
bool execute(Compiled& compiled, engine::Pool& pool, const Size& input, Range rows, Range columns,
             std::vector<const float*> pooled_inputs, const engine::Source& source,
             engine::Sink& sink, RunMonitor& monitor) {
  engine::Job job{compiled.program, compiled.kernels.engine, pool, compiled.cache, source, sink};
  job.height = input.height;
  job.width = input.width;
  job.rows = rows;
  job.columns = columns;
  job.pooled_inputs = std::move(pooled_inputs);
  job.progress = &monitor.share;
  Unlocked unlocked;
  job.poll = monitor.poll(unlocked);
  return engine::execute(job);
}

py::array_t<float> run_batch(Compiled& compiled, engine::Pool& pool, const FloatArray& batch,
                             const Means& means) {
  if (batch.ndim() != 4 || batch.shape(1) != compiled.channels_in) {
    refuse("batch has shape ", shape_of(batch), "; it must be (N, ", compiled.channels_in,
           ", height, width)");
  }
  const Size input = size_of(batch.shape(2), batch.shape(3));
  const Size output = output_size(compiled, input);
  const int channels = output_channels(compiled);
  py::array_t<float> result(
      std::vector<py::ssize_t>{batch.shape(0), channels, output.height, output.width});
  RunMonitor monitor;
  for (py::ssize_t n = 0; n < batch.shape(0); ++n) {
    const engine::PlaneSource source(batch.data(n), compiled.channels_in, input.height,
                                     input.width);
    engine::PlaneSink sink(result.mutable_data(n), channels, output.height, output.width, 0, 0);
    execute(compiled, pool, input, {0, output.height}, {0, output.width},
            pooled_inputs_of(compiled, means, batch.shape(0), n), source, sink, monitor);
  }
  return result;
}

std::optional<std::size_t> run_picture(Compiled& compiled, engine::Pool& pool,
                                       const py::array& src, const py::array& dst,
                                       const Pair& window_start, const Pair& window_size,
                                       const Pair& crop, const Means& means,
                                       const Callback& callback) {
  require_rgb(compiled);
  const Size input = size_of(window_size.first, window_size.second);
  const Size output = output_size(compiled, input);
  const auto [top, left] = crop;
  const Argument s{"src", src}, d{"dst", dst};
  return with_sample_type(s, [&, top = top, left = left](auto in_tag) {
    using In = typename decltype(in_tag)::type;
    const engine::PictureSource<In> source(compiled.kernels, image<const In>(s),
                                           window_start.second, window_start.first);
    return with_sample_type(d, [&](auto out_tag) -> std::optional<std::size_t> {
      using Out = typename decltype(out_tag)::type;
      const Image<Out> to = image<Out>(d);
      require_rect("the output", {left, top, to.width, to.height}, output.width, output.height);
      engine::ReadyRows ready(to.height, to.width);
      engine::PictureSink<Out> sink(compiled.kernels, to, left, top, ready);
      RunMonitor monitor(callback, &ready);
      const bool finished =
          execute(compiled, pool, input, {top, top + static_cast<int>(to.height)},
                  {left, left + static_cast<int>(to.width)},
                  pooled_inputs_of(compiled, means, 1, 0), source, sink, monitor);
      if (!finished) return std::nullopt;
      return sink.not_finite.load();
    });
  });
}

py::array_t<float> run_part(Compiled& compiled, engine::Pool& pool, const py::array& src,
                            const Pair& window_start, const Pair& window_size, const Pair& rows,
                            const Pair& columns, const Means& means) {
  require_rgb(compiled);
  const Size input = size_of(window_size.first, window_size.second);
  const Size output = output_size(compiled, input);
  const std::int64_t height = std::int64_t{rows.second} - rows.first;
  const std::int64_t width = std::int64_t{columns.second} - columns.first;
  require_rect("the output", {columns.first, rows.first, width, height}, output.width,
               output.height);
  py::array_t<float> result(std::vector<py::ssize_t>{1, 3, height, width});
  engine::PlaneSink sink(result.mutable_data(), 3, height, width, columns.first, rows.first);
  RunMonitor monitor;
  const Argument s{"src", src};
  with_sample_type(s, [&](auto tag) {
    using In = typename decltype(tag)::type;
    const engine::PictureSource<In> source(compiled.kernels, image<const In>(s),
                                           window_start.second, window_start.first);
    execute(compiled, pool, input, range(rows), range(columns),
            pooled_inputs_of(compiled, means, 1, 0), source, sink, monitor);
  });
  return result;
}

// GFLOP/s of independent multiply-adds: an upper bound for any network.
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
        const double done = kernels.fma_loop(kRounds);
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
        "GFLOP/s of multiply-adds in registers, the best of five attempts.");

  const auto array = [](const char* name) { return py::arg(name).noconvert(); };

  py::class_<Pool>(m, "Pool", "A pool of threads that sleep while there is no work.")
      .def(py::init<int>(), py::arg("threads"))
      .def_property_readonly("threads", &Pool::threads);

  py::class_<Compiled>(m, "Program", "A lowered network, built operation by operation.")
      .def(py::init<int, const Isa&>(), py::arg("channels"), py::kw_only(),
           py::arg("isa") = py::none())
      .def(
          "conv",
          [](Compiled& c, const std::variant<RefPair, std::vector<RefPair>>& source,
             const FloatArray& weight, const FloatArray& bias,
             const FloatArray& slope, int stride, int padding, int shuffle, int crop, int trim,
             const std::string& function, int gate, const std::optional<RefPair>& factor,
             const std::optional<RefPair>& addend) {
            engine::Program::ConvSpec spec = spec_of(weight, bias, slope, stride, padding);
            spec.function = function_of(function);
            spec.shuffle = shuffle;
            spec.crop = crop;
            spec.trim = trim;
            std::vector<Ref> sources;
            if (const auto* one = std::get_if<RefPair>(&source)) {
              sources = {ref(*one)};
            } else {
              sources = refs(std::get<std::vector<RefPair>>(source));
            }
            return c.program.conv(std::move(sources), spec, gate, optional_ref(factor),
                                  optional_ref(addend));
          },
          py::arg("source"), array("weight"), array("bias"), array("slope"), py::kw_only(),
          py::arg("stride") = 1, py::arg("padding") = 0, py::arg("shuffle") = 0,
          py::arg("crop") = 0, py::arg("trim") = 0, py::arg("function") = "identity",
          py::arg("gate") = -1, py::arg("factor") = py::none(), py::arg("addend") = py::none())
      .def("add", [](Compiled& c, const RefPair& a, const RefPair& b) {
        return c.program.add(ref(a), ref(b));
      })
      .def("product", [](Compiled& c, const RefPair& a, const RefPair& b) {
        return c.program.product(ref(a), ref(b));
      })
      .def("multiply", [](Compiled& c, const RefPair& source, int gate) {
        return c.program.multiply(ref(source), gate);
      })
      .def("affine",
           [](Compiled& c, const RefPair& source, const FloatArray& scale,
              const FloatArray& offset) {
             const int count = scale.ndim() == 1 ? static_cast<int>(scale.size()) : -1;
             return c.program.affine(ref(source), scale.data(), vector_of("offset", offset, count),
                                     count);
           })
      .def("activate",
           [](Compiled& c, const RefPair& source, const FloatArray& slope) {
             const int slopes = slope.ndim() == 1 ? static_cast<int>(slope.size()) : -1;
             return c.program.activate(ref(source), slope.data(), slopes);
           })
      .def("smooth",
           [](Compiled& c, const RefPair& source, const std::string& function) {
             return c.program.smooth(ref(source), function_of(function));
           })
      .def("concat",
           [](Compiled& c, const std::vector<RefPair>& sources) {
             return c.program.concat(refs(sources));
           })
      .def("upsample", [](Compiled& c, const RefPair& source, int factor) {
        return c.program.upsample(ref(source), factor);
      })
      .def(
          "shuffle",
          [](Compiled& c, const RefPair& source, int factor, const std::optional<RefPair>& addend,
             int enlarged) {
            return c.program.shuffle(ref(source), factor, optional_ref(addend), enlarged);
          },
          py::arg("source"), py::arg("factor"), py::kw_only(), py::arg("addend") = py::none(),
          py::arg("enlarged") = 1)
      .def("unshuffle", [](Compiled& c, const RefPair& source, int factor) {
        return c.program.unshuffle(ref(source), factor);
      })
      .def("resize",
           [](Compiled& c, const RefPair& source, int multiplier, int divisor, int support) {
             return c.program.resize(ref(source), multiplier, divisor, support);
           })
      .def("cut", [](Compiled& c) { c.program.cut(); })
      .def("pooled_input",
           [](Compiled& c, int channels) { return c.program.pooled_input(channels); })
      .def("mean", [](Compiled& c, const RefPair& source) { return c.program.mean(ref(source)); })
      .def("pooled_conv",
           [](Compiled& c, int source, const FloatArray& weight, const FloatArray& bias,
              const FloatArray& slope, bool sigmoid) {
             return c.program.pooled_conv(source, spec_of(weight, bias, slope, 1, 0),
                                          sigmoid);
           })
      .def(
          "finish",
          [](Compiled& c, const RefPair& output, int halo) { c.program.finish(ref(output), halo); },
          py::arg("output"), py::kw_only(), py::arg("halo") = 0)
      .def("run", &run_batch, py::arg("pool"), array("batch"), py::arg("means"),
           "Run a batch, (N, C, H, W) float32 to (N, C', H', W').")
      .def("run_picture", &run_picture, py::arg("pool"), array("src"), array("dst"),
           py::kw_only(), py::arg("window_start"), py::arg("window_size"), py::arg("crop"),
           py::arg("means"), py::arg("on_rows") = py::none(),
           "Upscale a picture into dst; returns how many samples were not finite, None if stopped.")
      .def("run_part", &run_part, py::arg("pool"), array("src"), py::kw_only(),
           py::arg("window_start"), py::arg("window_size"), py::arg("rows"), py::arg("columns"),
           py::arg("means"), "(1, 3, rows, columns) float32: a part of the output, unclamped.");
}

}  // namespace waifu2x
