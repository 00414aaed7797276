#include "engine/program.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "engine/weights.h"

namespace waifu2x::engine {
namespace {

constexpr int kMaxFactor = 1 << 12;

// With fewer input channels the transforms cost more than the products that they save.
constexpr int kMinWinogradDepth = 8;

int round_down(int x, int step) { return floor_divide(x, step) * step; }

// phases > 1: reorders the outputs by phase.
void set_weights(Conv& conv, const Program::ConvSpec& spec, int phases) {
  const WeightView view{spec.weight, spec.out, spec.in, spec.kernel, phases};
  conv.kernel = spec.kernel;
  conv.blocks = blocks_of(spec.out);
  conv.weights = conv.winograd ? pack_winograd(view) : pack_direct(view);
  conv.weights_stride =
      conv.winograd ? winograd_stride(spec.in) : direct_stride(spec.in, spec.kernel);
  conv.bias = pack_vector(spec.bias, spec.out, 0.0f, phases);
  conv.slope = pack_vector(spec.slope, spec.out, 1.0f, phases);
}

}  // namespace

// --- ranges --------------------------------------------------------------------------------------

Range Node::computed_range(Range requested, int size) const {
  if (requested.empty()) return requested;
  if (kind == Kind::conv && conv.winograd) {
    // Aligned to the tile grid of the whole value: rounding depends on the position within a tile.
    return {std::max(0, round_down(requested.lo, kTile)),
            std::min(size, round_up(requested.hi, kTile))};
  }
  return requested;
}

int Node::computed_end(int requested, int size) const {
  if (kind == Kind::conv && conv.winograd) return std::min(size, round_up(requested, kTile));
  if (kind == Kind::conv && conv.factor > 1) {
    // All output rows of a convolution row, so that no row is computed twice.
    const int last = floor_divide(requested - 1 + conv.crop, conv.factor);
    return std::min(size, (last + 1) * conv.factor - conv.crop);
  }
  return requested;
}

Range Node::read_range(const Ref& source, bool pointwise, Range range) const {
  if (pointwise) {
    return {floor_divide(range.lo, enlarged) + source.offset,
            floor_divide(range.hi - 1, enlarged) + 1 + source.offset};
  }
  Range r = range;
  if (kind == Kind::conv) {
    if (conv.winograd) {
      r = {round_down(r.lo, kTile) - conv.padding,
           round_up(r.hi, kTile) + 2 - conv.padding};
    } else {
      const int first = floor_divide(r.lo + conv.crop, conv.factor);
      const int last = floor_divide(r.hi - 1 + conv.crop, conv.factor);
      r = {first * conv.stride - conv.padding, last * conv.stride - conv.padding + conv.kernel};
    }
  } else if (kind == Kind::upsample || kind == Kind::shuffle) {
    r = {floor_divide(r.lo + crop, factor), floor_divide(r.hi - 1 + crop, factor) + 1};
  } else if (kind == Kind::unshuffle) {
    r = {r.lo * factor, r.hi * factor};
  } else if (kind == Kind::resize) {
    r = {first_tap(r.lo), first_tap(r.hi - 1) + 2 * support};
  }
  return {r.lo + source.offset, r.hi + source.offset};
}

int Node::first_tap(int at) const {
  // The center is (at + 1/2) * divisor / multiplier - 1/2; in units of 1 / (2 * multiplier).
  const long long center = (2LL * at + 1) * divisor - multiplier;
  const long long unit = 2LL * multiplier;
  const long long floor = center >= 0 ? center / unit : -((-center + unit - 1) / unit);
  return static_cast<int>(floor) + 1 - support;
}

void Node::tap_weights(int at, float* weights) const {
  const double center = (at + 0.5) * divisor / multiplier - 0.5;
  for (int tap = 0; tap < 2 * support; ++tap) {
    const double d = std::fabs(center - (first_tap(at) + tap));
    double weight = std::max(0.0, 1 - d);
    if (support == 2) {
      constexpr double a = -0.75;
      weight = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1
                      : d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0.0;
    }
    weights[tap] = static_cast<float>(weight);
  }
}

// --- building ------------------------------------------------------------------------------------

Program::Program(int channels) {
  if (channels < 1) throw std::invalid_argument("a network reads at least one channel");
  Node node;
  Value value;
  value.channels = channels;
  value.reread = true;
  push(std::move(node), value);
}

int Program::push(Node node, Value value) {
  value.blocks = blocks_of(value.channels);
  value.stage = first_stage_;
  node.for_reads([&](const Ref& ref, bool) {
    value.stage = std::max(value.stage, of(ref.value).stage);
  });
  if (node.gate >= 0) {
    value.stage = std::max(value.stage, pooled_[static_cast<std::size_t>(node.gate)].stage);
  }
  value.last_use = value.stage;
  node.for_reads([&](const Ref& ref, bool) {
    of(ref.value).last_use = std::max(of(ref.value).last_use, value.stage);
  });
  stages_ = std::max(stages_, value.stage + 1);
  node.value = static_cast<int>(values_.size());
  nodes_.push_back(std::move(node));
  values_.push_back(value);
  return nodes_.back().value;
}

void Program::require_open() const {
  if (output_.value >= 0) throw std::invalid_argument("the program is finished");
}

Ref Program::materialize_if_padded(Ref ref, int padding) {
  return padding > 0 && ref.offset > 0 ? Ref{copy(ref), 0} : ref;
}

int Program::copy(Ref source) {
  const int count = channels(source.value);
  const std::vector<float> ones(index(count), 1.0f), zeros(index(count), 0.0f);
  return affine(source, ones.data(), zeros.data(), count);
}

void Program::require(Ref ref) const {
  require_open();
  if (ref.value < 0 || ref.value >= static_cast<int>(values_.size()) || ref.offset < 0) {
    throw std::invalid_argument("no such value");
  }
}

namespace {

Value like(const Value& source, int index, int crop) {
  Value value;
  value.channels = source.channels;
  value.scale = source.scale;
  value.divisor = source.divisor;
  value.size_of = index;
  value.size_rest = -2 * crop;
  return value;
}

}  // namespace

int Program::conv(std::vector<Ref> sources, const ConvSpec& spec, int gate, Ref gated_by,
                  Ref addend) {
  if (sources.empty()) throw std::invalid_argument("nothing to convolve");
  int depth = 0;
  for (const Ref& each : sources) {
    require(each);
    if (depth % kBlock != 0) throw std::invalid_argument("the channels do not fill their blocks");
    depth += channels(each.value);
  }
  for (const Ref& ref : {gated_by, addend}) {
    if (ref.value >= 0) require(ref);
  }
  const bool shuffled = spec.shuffle != 0;
  const int factor = shuffled ? spec.shuffle : 1, phases = factor * factor;
  constexpr int kMax = 1 << 12;  // keeps all sizes within int
  for (const int number : {spec.kernel, spec.stride, spec.padding, factor, spec.crop, spec.trim}) {
    if (number > kMax) throw std::invalid_argument("the kernel, stride or padding is too large");
  }
  if (factor < 1 || spec.out % phases != 0 || spec.crop < 0 || spec.trim < 0 ||
      (shuffled ? spec.stride != 1 : spec.crop > 0 || spec.trim > 0)) {
    throw std::invalid_argument("the shuffle does not fit the convolution");
  }
  const bool has_tail = gated_by.value >= 0 || spec.function != Function::identity;
  if (shuffled && has_tail) {
    throw std::invalid_argument("a shuffled convolution has neither a function nor a factor");
  }
  if (gate >= 0 && (shuffled || has_tail || gate >= static_cast<int>(pooled_.size()) ||
                    pooled_channels(gate) != spec.out)) {
    throw std::invalid_argument("the gate does not fit the convolution");
  }
  const int result_channels = spec.out / phases;
  const auto fits = [&](const Ref& ref) {
    return ref.value < 0 || channels(ref.value) == result_channels;
  };
  if (spec.kernel < 1 || spec.stride < 1 || spec.padding < 0 || spec.in != depth ||
      spec.out < 1 || !fits(addend) || !fits(gated_by)) {
    throw std::invalid_argument("the convolution does not fit its input");
  }
  // The kernels write whole blocks of a phase. Fewer channels share blocks between phases, and an
  // operation of its own shuffles the result. (3x3 kernels in Winograd tiles are no faster there.)
  const bool fused = phases == 1 || result_channels % kBlock == 0;
  for (Ref& each : sources) each = materialize_if_padded(each, spec.padding);
  const Ref source = sources[0];
  border_ = std::max(border_, kTileIn + spec.padding);
  Node node;
  node.kind = Kind::conv;
  node.sources = std::move(sources);
  Conv& conv = node.conv;
  conv.depth = spec.in;
  for (const Ref& each : node.sources) conv.source_blocks.push_back(of(each.value).blocks);
  conv.stride = spec.stride;
  conv.padding = spec.padding;
  conv.winograd =
      spec.kernel == 3 && spec.stride == 1 && spec.in >= kMinWinogradDepth && !shuffled;
  set_weights(conv, spec, fused ? phases : 1);
  Value value = like(of(source.value), source.value, source.offset);
  value.channels = spec.out;
  value.divisor *= spec.stride;
  value.size_add = 2 * spec.padding - spec.kernel - 2 * source.offset;
  value.size_divide = spec.stride;
  value.size_rest = 1;
  if (!fused) {
    const int convolved = push(std::move(node), value);
    const int result = push_shuffle({convolved, 0}, factor, spec.crop, spec.trim);
    return addend.value >= 0 ? add({result, 0}, addend) : result;
  }
  node.gate = gate;
  node.gated_by = gated_by;
  node.addend = addend;
  conv.function = spec.function;
  conv.gated = gated_by.value >= 0;
  conv.factor = factor;
  conv.crop = spec.crop;
  value.channels = result_channels;
  value.scale *= factor;
  value.size_factor = factor;
  value.size_rest = factor - 2 * spec.crop - spec.trim;
  return push(std::move(node), value);
}

int Program::add(Ref a, Ref b) {
  require(a);
  require(b);
  if (channels(a.value) != channels(b.value)) throw std::invalid_argument("channels differ");
  Node node;
  node.kind = Kind::add;
  node.sources = {a, b};
  return push(std::move(node), like(of(a.value), a.value, a.offset));
}

int Program::product(Ref a, Ref b) {
  const int value = add(a, b);
  nodes_.back().kind = Kind::product;
  return value;
}

int Program::multiply(Ref source, int gate) {
  require(source);
  if (gate < 0 || gate >= static_cast<int>(pooled_.size()) ||
      pooled_channels(gate) != channels(source.value)) {
    throw std::invalid_argument("the gate does not fit its value");
  }
  Node node;
  node.kind = Kind::multiply;
  node.sources = {source};
  node.gate = gate;
  return push(std::move(node), like(of(source.value), source.value, source.offset));
}

int Program::affine(Ref source, const float* scale, const float* offset, int count) {
  require(source);
  if (count != channels(source.value)) {
    throw std::invalid_argument("there must be one scale and offset per channel");
  }
  Node node;
  node.kind = Kind::affine;
  node.sources = {source};
  node.scale = pack_vector(scale, count, 1.0f);
  node.offset = pack_vector(offset, count, 0.0f);
  return push(std::move(node), like(of(source.value), source.value, source.offset));
}

int Program::activate(Ref source, const float* slope, int slopes) {
  require(source);
  if (slopes != channels(source.value)) {
    throw std::invalid_argument("there must be one slope per channel");
  }
  Node node;
  node.kind = Kind::activate;
  node.sources = {source};
  node.slope = pack_vector(slope, channels(source.value), 1.0f);
  return push(std::move(node), like(of(source.value), source.value, source.offset));
}

int Program::smooth(Ref source, Function function) {
  require(source);
  Node node;
  node.kind = Kind::smooth;
  node.function = function;
  node.sources = {source};
  return push(std::move(node), like(of(source.value), source.value, source.offset));
}

int Program::concat(const std::vector<Ref>& sources) {
  if (sources.empty()) throw std::invalid_argument("nothing to join");
  int channels_total = 0;
  for (const Ref& source : sources) {
    require(source);
    channels_total += channels(source.value);
  }
  Node node;
  for (const Ref& source : sources) node.channels.push_back(channels(source.value));
  node.kind = Kind::concat;
  node.sources = sources;
  Value value = like(of(sources[0].value), sources[0].value, sources[0].offset);
  value.channels = channels_total;
  return push(std::move(node), value);
}

int Program::upsample(Ref source, int factor) {
  require(source);
  if (factor < 1 || factor > kMaxFactor) {
    throw std::invalid_argument("the factor must be at least 1, and not thousands");
  }
  Node node;
  node.kind = Kind::upsample;
  node.sources = {source};
  node.factor = factor;
  Value value = like(of(source.value), source.value, source.offset);
  value.scale *= factor;
  value.size_factor = factor;
  value.size_rest *= factor;
  return push(std::move(node), value);
}

int Program::shuffle(Ref source, int factor, Ref addend, int enlarged) {
  require(source);
  if (factor < 1 || factor > kMaxFactor || channels(source.value) % (factor * factor) != 0) {
    throw std::invalid_argument("the channels do not shuffle by this factor");
  }
  if (addend.value >= 0) {
    require(addend);
    if (enlarged < 1 || factor % enlarged != 0 || channels(addend.value) > kBlock ||
        channels(addend.value) != channels(source.value) / (factor * factor)) {
      throw std::invalid_argument("the addend does not fit the shuffle");
    }
  }
  return push_shuffle(source, factor, 0, 0, addend, enlarged);
}

int Program::unshuffle(Ref source, int factor) {
  require(source);
  if (factor < 1 || factor > kMaxFactor || channels(source.value) > (1 << 26) / (factor * factor)) {
    throw std::invalid_argument("the factor must be at least 1, and not thousands");
  }
  Node node;
  node.kind = Kind::unshuffle;
  node.sources = {source};
  node.factor = factor;
  Value value = like(of(source.value), source.value, 0);
  node.channels = {value.channels};
  value.channels *= factor * factor;
  value.divisor *= factor;
  value.size_add = -2 * source.offset;
  value.size_divide = factor;
  value.size_rest = 0;
  return push(std::move(node), value);
}

int Program::resize(Ref source, int multiplier, int divisor, int support) {
  require(source);
  for (const int number : {multiplier, divisor}) {
    if (number < 1 || number > kMaxFactor) {
      throw std::invalid_argument("the factor must be at least 1, and not thousands");
    }
  }
  if (support < 1 || support > 2) throw std::invalid_argument("the support must be 1 or 2");
  Node node;
  node.kind = Kind::resize;
  // Beyond the edge of the crop, not of the value, samples repeat.
  node.sources = {source.offset > 0 ? Ref{copy(source), 0} : source};
  node.multiplier = multiplier;
  node.divisor = divisor;
  node.support = support;
  const Ref from = node.sources[0];
  Value value = like(of(from.value), from.value, 0);
  value.scale *= multiplier;
  value.divisor *= divisor;
  value.size_divide = divisor;
  value.size_factor = multiplier;
  value.size_rest = 0;
  return push(std::move(node), value);
}

void Program::cut() {
  require_open();
  first_stage_ = stages_;
}

int Program::push_shuffle(Ref source, int factor, int crop, int trim, Ref addend, int enlarged) {
  Node node;
  node.kind = Kind::shuffle;
  node.sources = {source};
  node.factor = factor;
  node.crop = crop;
  node.addend = addend;
  node.enlarged = enlarged;
  Value value = like(of(source.value), source.value, source.offset);
  value.channels /= factor * factor;
  node.channels = {value.channels};
  value.scale *= factor;
  value.size_factor = factor;
  value.size_rest = value.size_rest * factor - 2 * crop - trim;
  return push(std::move(node), value);
}

int Program::pooled_input(int channels) {
  require_open();
  if (channels < 1) throw std::invalid_argument("a vector has at least one number");
  Pooled pooled;
  pooled.kind = Pooled::Kind::input;
  pooled.channels = channels;
  pooled.input = pooled_inputs_++;
  pooled_.push_back(std::move(pooled));
  return static_cast<int>(pooled_.size()) - 1;
}

int Program::mean(Ref source) {
  require(source);
  Pooled pooled;
  pooled.kind = Pooled::Kind::mean;
  pooled.channels = channels(source.value);
  pooled.mean = source;
  pooled.stage = of(source.value).stage + 1;
  // Buffered at full size: the order of the sum must not depend on the partition.
  of(source.value).last_use = std::max(of(source.value).last_use, pooled.stage);
  of(source.value).reread = false;
  stages_ = std::max(stages_, pooled.stage + 1);
  pooled_.push_back(std::move(pooled));
  return static_cast<int>(pooled_.size()) - 1;
}

int Program::pooled_conv(int source, const ConvSpec& spec, bool sigmoid) {
  require_open();
  if (source < 0 || source >= static_cast<int>(pooled_.size()) ||
      pooled_channels(source) != spec.in || spec.kernel != 1) {
    throw std::invalid_argument("the pooled convolution does not fit its input");
  }
  Pooled pooled;
  pooled.kind = Pooled::Kind::conv;
  pooled.channels = spec.out;
  pooled.source = source;
  pooled.stage = pooled_[static_cast<std::size_t>(source)].stage;
  pooled.weights = Floats(static_cast<std::size_t>(spec.out) * spec.in);
  std::copy_n(spec.weight, pooled.weights.size(), pooled.weights.data());
  pooled.bias = pack_vector(spec.bias, spec.out, 0.0f);
  pooled.slope = pack_vector(spec.slope, spec.out, 1.0f);
  pooled.sigmoid = sigmoid;
  pooled_.push_back(std::move(pooled));
  return static_cast<int>(pooled_.size()) - 1;
}

void Program::finish(Ref output, int halo) {
  require(output);
  output_ = output;
  halo_ = halo;
  of(output.value).last_use = std::max(of(output.value).last_use, of(output.value).stage);
}

std::vector<int> Program::sizes(int size) const {
  constexpr long long kMax = 1 << 30;
  const auto refuse = [size](const char* what) {
    throw std::invalid_argument("an input side of " + std::to_string(size) + " px " + what);
  };
  std::vector<int> result;
  result.reserve(values_.size());
  for (const Value& value : values_) {
    long long n = size;
    if (value.size_of >= 0) {
      n = result[static_cast<std::size_t>(value.size_of)] + value.size_add;
      n = n >= 0 ? n / value.size_divide : -1;
      n = n * value.size_factor + value.size_rest;
    }
    if (n < 1) refuse("leaves nothing of this network");
    if (n > kMax) refuse("is too large for this network");
    result.push_back(static_cast<int>(n));
  }
  const auto cropped = [&](Ref ref) {
    return result[static_cast<std::size_t>(ref.value)] - 2 * ref.offset;
  };
  for (const Node& node : nodes_) {
    const int own = result[static_cast<std::size_t>(node.value)];
    const bool joins =
        node.kind == Kind::add || node.kind == Kind::product || node.kind == Kind::concat;
    for (const Ref& source : node.sources) {
      if (cropped(source) < 1) refuse("leaves nothing of this network");
      const int expected = joins ? own : cropped(node.sources[0]);
      if (cropped(source) != expected) refuse("does not fit this network");
    }
    for (const Ref& ref : {node.gated_by, node.addend}) {
      const long long given = ref.value < 0 ? own : 1LL * cropped(ref) * node.enlarged;
      if (given != own) refuse("does not fit this network");
    }
  }
  for (const Pooled& pooled : pooled_) {
    if (pooled.kind == Pooled::Kind::mean && cropped(pooled.mean) < 1) {
      refuse("leaves nothing to average");
    }
  }
  return result;
}

}  // namespace waifu2x::engine
