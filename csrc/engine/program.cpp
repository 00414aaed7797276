#include "engine/program.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "engine/weights.h"

namespace waifu2x::engine {
namespace {

constexpr int kMaxFactor = 1 << 12;

// With fewer input channels the transforms cost more than the products that they save.
constexpr int kMinWinogradDepth = 8;

int round_down(int x, int step) { return floor_divide(x, step) * step; }
int round_up(int x, int step) { return -floor_divide(-x, step) * step; }

// A transposed convolution as a plain one for each place (ry, rx) within a cell of stride x stride:
// output stride * q + r reads input q - m through tap stride * m + r, if there is one. Weights
// (output, in, taps, taps), with place and channel at output(place, channel).
template <class Output>
std::vector<float> phases(const Program::ConvSpec& spec, int taps, Output output) {
  const int s = spec.stride, k = spec.kernel;
  std::vector<float> weight(static_cast<std::size_t>(s * s * spec.out) *
                            static_cast<std::size_t>(spec.in * taps * taps));
  for (int place = 0; place < s * s; ++place) {
    for (int o = 0; o < spec.out; ++o) {
      for (int i = 0; i < spec.in; ++i) {
        const float* from = spec.weight + (static_cast<std::ptrdiff_t>(i) * spec.out + o) * k * k;
        float* to = weight.data() +
                    (static_cast<std::ptrdiff_t>(output(place, o)) * spec.in + i) * taps * taps;
        for (int my = 0; my < taps; ++my) {
          for (int mx = 0; mx < taps; ++mx) {
            const int y = s * my + place / s, x = s * mx + place % s;
            if (y < k && x < k) to[(taps - 1 - my) * taps + taps - 1 - mx] = from[y * k + x];
          }
        }
      }
    }
  }
  return weight;
}

// The same for one number a channel.
template <class Output>
std::vector<float> repeated(const float* numbers, int channels, int places, Output output) {
  std::vector<float> result(static_cast<std::size_t>(channels * places));
  for (int place = 0; place < places; ++place) {
    for (int o = 0; o < channels; ++o) {
      result[static_cast<std::size_t>(output(place, o))] = numbers[o];
    }
  }
  return result;
}

void set_weights(Conv& conv, const float* weight, const float* bias, const float* slope, int out,
                 int size) {
  const WeightView view{weight, out, conv.depth, size,
                        static_cast<std::ptrdiff_t>(conv.depth) * size * size,
                        static_cast<std::ptrdiff_t>(size) * size};
  conv.kernel = size;
  conv.blocks = blocks_of(out);
  conv.weights = conv.winograd ? pack_winograd(view) : pack_direct(view);
  conv.weights_stride =
      conv.winograd ? winograd_stride(conv.depth) : direct_stride(conv.depth, size);
  conv.bias = pack_vector(bias, out, 0.0f);
  conv.slope = pack_vector(slope, out, 1.0f);
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

Range Node::read_range(const Ref& source, bool is_addend, Range range) const {
  Range r = range;
  if (kind == Kind::conv && !is_addend) {
    if (conv.winograd) {
      r = {round_down(r.lo, kTile) - conv.padding,
           round_up(r.hi, kTile) + 2 - conv.padding};
    } else {
      const int first = floor_divide(r.lo + conv.crop, conv.factor);
      const int last = floor_divide(r.hi - 1 + conv.crop, conv.factor);
      r = {first * conv.stride - conv.padding, last * conv.stride - conv.padding + conv.kernel};
    }
  } else if (kind == Kind::upsample || kind == Kind::shuffle) {
    r = {(r.lo + crop) / factor, (r.hi - 1 + crop) / factor + 1};
  }
  return {r.lo + source.offset, r.hi + source.offset};
}

// --- building ------------------------------------------------------------------------------------

Program::Program(int channels) {
  if (channels < 1) throw std::invalid_argument("a network reads at least one channel");
  Node node;
  Value value;
  value.channels = channels;
  push(std::move(node), value);
}

int Program::push(Node node, Value value) {
  value.blocks = blocks_of(value.channels);
  for (const Ref& source : node.sources) {
    value.stage = std::max(value.stage, of(source.value).stage);
  }
  if (node.addend.value >= 0) value.stage = std::max(value.stage, of(node.addend.value).stage);
  if (node.gate >= 0) {
    value.stage = std::max(value.stage, pooled_[static_cast<std::size_t>(node.gate)].stage);
  }
  value.last_use = value.stage;
  for (const Ref& source : node.sources) {
    of(source.value).last_use = std::max(of(source.value).last_use, value.stage);
  }
  if (node.addend.value >= 0) {
    of(node.addend.value).last_use = std::max(of(node.addend.value).last_use, value.stage);
  }
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
  return padding > 0 && ref.offset > 0 ? Ref{affine(ref, 1.0f, 0.0f), 0} : ref;
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

int Program::conv(Ref source, const ConvSpec& spec, Ref addend) {
  require(source);
  if (addend.value >= 0) require(addend);
  if (spec.kernel < 1 || spec.stride < 1 || spec.padding < 0 || spec.in != channels(source.value) ||
      spec.out < 1 || (addend.value >= 0 && spec.out != channels(addend.value))) {
    throw std::invalid_argument("the convolution does not fit its input");
  }
  constexpr int kMax = 1 << 12;  // keeps all sizes within int
  if (spec.kernel > kMax || spec.stride > kMax || spec.padding > kMax) {
    throw std::invalid_argument("the kernel, stride or padding is too large");
  }
  if (spec.transposed) return transposed(source, spec, addend);
  source = materialize_if_padded(source, spec.padding);
  border_ = std::max(border_, kTileIn + spec.padding);
  Node node;
  node.kind = Kind::conv;
  node.sources = {source};
  node.addend = addend;
  Conv& conv = node.conv;
  conv.depth = spec.in;
  conv.stride = spec.stride;
  conv.padding = spec.padding;
  conv.winograd = spec.kernel == 3 && spec.stride == 1 && spec.in >= kMinWinogradDepth;
  set_weights(conv, spec.weight, spec.bias, spec.slope, spec.out, spec.kernel);
  Value value = like(of(source.value), source.value, source.offset);
  value.channels = spec.out;
  value.divisor *= spec.stride;
  value.size_add = 2 * spec.padding - spec.kernel - 2 * source.offset;
  value.size_divide = spec.stride;
  value.size_rest = 1;
  return push(std::move(node), value);
}

int Program::transposed(Ref source, const ConvSpec& spec, Ref addend) {
  // Output s * q + r - padding sums the inputs q - taps + 1 to q. With an inner padding of p the
  // convolution starts p of those before the first input, and the shuffle is cropped by the rest.
  const int s = spec.stride, places = s * s, taps = (spec.kernel + s - 1) / s;
  const int padding = std::max(0, taps - 1 - spec.padding / s);
  const int crop = spec.padding - s * (taps - 1 - padding);
  source = materialize_if_padded(source, padding);
  border_ = std::max(border_, kTileIn + padding);
  Node node;
  node.kind = Kind::conv;
  node.sources = {source};
  Conv& conv = node.conv;
  conv.depth = spec.in;
  conv.padding = padding;
  Value value = like(of(source.value), source.value, source.offset);

  if (s == 1 || spec.out % kBlock == 0) {
    const auto output = [&](int place, int o) { return place * spec.out + o; };
    conv.factor = s;
    conv.crop = crop;
    set_weights(conv, phases(spec, taps, output).data(),
                repeated(spec.bias, spec.out, places, output).data(),
                repeated(spec.slope, spec.out, places, output).data(), spec.out * places, taps);
    node.addend = addend;
    value.channels = spec.out;
    value.scale *= s;
    value.size_factor = s;
    value.size_rest = -2 * source.offset * s + spec.kernel - s - 2 * spec.padding;
    return push(std::move(node), value);
  }

  // Few channels: all places share blocks, and a shuffle of its own sorts them out. (Two taps a
  // side as three, one of them zero, through Winograd's tiles measured no faster.)
  if (addend.value >= 0) throw std::invalid_argument("nothing can be added to a shuffle");
  const auto output = [&](int place, int o) { return o * places + place; };
  set_weights(conv, phases(spec, taps, output).data(),
              repeated(spec.bias, spec.out, places, output).data(),
              repeated(spec.slope, spec.out, places, output).data(), spec.out * places, taps);
  value.channels = spec.out * places;
  value.size_rest = -2 * source.offset + 2 * padding - taps + 1;
  const int convolved = push(std::move(node), value);

  Node shuffle;
  shuffle.kind = Kind::shuffle;
  shuffle.sources = {{convolved, 0}};
  shuffle.factor = s;
  shuffle.crop = crop;
  shuffle.channels = {spec.out};
  Value shuffled = like(of(convolved), convolved, 0);
  shuffled.channels = spec.out;
  shuffled.scale *= s;
  shuffled.size_factor = s;
  shuffled.size_rest = spec.kernel - s - 2 * spec.padding - s * (2 * padding - taps + 1);
  return push(std::move(shuffle), shuffled);
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

int Program::affine(Ref source, float scale, float offset) {
  require(source);
  Node node;
  node.kind = Kind::affine;
  node.sources = {source};
  node.scale = scale;
  node.offset = offset;
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

int Program::sigmoid(Ref source) {
  require(source);
  Node node;
  node.kind = Kind::sigmoid;
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

int Program::shuffle(Ref source, int factor) {
  require(source);
  if (factor < 1 || factor > kMaxFactor ||
      channels(source.value) % (factor * factor) != 0) {
    throw std::invalid_argument("the channels do not shuffle by this factor");
  }
  Node node;
  node.kind = Kind::shuffle;
  node.sources = {source};
  node.factor = factor;
  Value value = like(of(source.value), source.value, source.offset);
  value.channels /= factor * factor;
  node.channels = {value.channels};
  value.scale *= factor;
  value.size_factor = factor;
  value.size_rest *= factor;
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

void Program::finish(Ref output) {
  require(output);
  output_ = output;
  of(output.value).last_use = std::max(of(output.value).last_use, of(output.value).stage);
}

std::size_t Program::weight_bytes() const {
  std::size_t floats = 0;
  for (const Node& node : nodes_) floats += node.conv.weights.size() + node.conv.bias.size();
  for (const Pooled& pooled : pooled_) floats += pooled.weights.size();
  return floats * sizeof(float);
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
    const bool joins = node.kind == Kind::add || node.kind == Kind::concat;
    for (const Ref& source : node.sources) {
      if (cropped(source) < 1) refuse("leaves nothing of this network");
      if (joins && cropped(source) != own) refuse("does not fit this network");
    }
    if (node.addend.value >= 0 && cropped(node.addend) != own) refuse("does not fit this network");
  }
  for (const Pooled& pooled : pooled_) {
    if (pooled.kind == Pooled::Kind::mean && cropped(pooled.mean) < 1) {
      refuse("leaves nothing to average");
    }
  }
  return result;
}

}  // namespace waifu2x::engine
