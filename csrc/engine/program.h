// A network lowered for the executor: spatial nodes over blocked values, pooled vectors between the
// stages, packed weights.
//
// Coordinates are absolute: sample 0 of a value is the first result of its operation for the whole
// input, however the input is partitioned. Both axes follow the same rules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels.h"
#include "engine/memory.h"

namespace waifu2x::engine {

// A value cropped by `offset` samples on each side: sample i of the reference is sample i + offset
// of the value.
struct Ref {
  int value = -1;
  int offset = 0;
};

// A half-open range along one axis.
struct Range {
  int lo = 0;
  int hi = 0;

  bool empty() const { return hi <= lo; }
  int size() const { return hi - lo; }
};

enum class Kind {
  input, conv, add, product, multiply, affine, activate, smooth, concat, upsample, shuffle,
  unshuffle, resize
};

// A convolution and the operations fused into it.
struct Conv {
  int kernel = 1;
  int stride = 1;
  int padding = 0;
  bool winograd = false;
  int depth = 0;   // input channels
  std::vector<int> source_blocks;  // input blocks of each source
  int blocks = 0;  // output blocks, before the shuffle
  Floats weights;  // see DirectRow and WinogradProduct
  std::ptrdiff_t weights_stride = 0;
  Floats bias;
  Floats slope;
  // A fused pixel shuffle of the result, then a crop on each side; requires whole blocks of
  // channels. Outputs are ordered (row phase, column phase, channel).
  int factor = 1;
  int crop = 0;
  // What follows the activation; the addend of the node then comes last.
  Function function = Function::identity;
  bool gated = false;  // multiplied by `gated_by` of the node

  // Whether more follows than an activation and an addend.
  bool has_tail() const { return gated || function != Function::identity; }
};

struct Node {
  Kind kind = Kind::input;
  int value = -1;  // the result
  std::vector<Ref> sources;  // of a convolution: several are read as joined channels
  Ref gated_by;  // multiplied with the result of a convolution; value -1 for none
  Ref addend;  // added to the result of a convolution or a shuffle; value -1 for none
  Conv conv;
  Floats scale;   // affine
  Floats offset;  // affine
  Floats slope;   // activate
  Function function = Function::identity;  // smooth
  int gate = -1;        // multiply, conv: index of a pooled vector; -1 for none
  int factor = 1;       // upsample, shuffle, unshuffle
  // resize: samples of the result per `divisor` samples of the source, and taps on each side
  int multiplier = 1;
  int divisor = 1;
  int support = 0;
  int crop = 0;         // shuffle: on each side of the result
  int enlarged = 1;     // shuffle: factor of the nearest enlargement of the addend
  std::vector<int> channels;  // concat: of each source; shuffle: of the result

  // The range along one axis that is computed to obtain `requested`; the value has `size` samples.
  Range computed_range(Range requested, int size) const;
  // The end of the rows that are computed to obtain all rows before `requested`.
  int computed_end(int requested, int size) const;
  // resize: the first of the 2 * support source samples of a sample, and their weights.
  int first_tap(int at) const;
  void tap_weights(int at, float* weights) const;
  // The range of `source` that `range` depends on. May extend past the edges, into zero padding.
  // pointwise: the source is `gated_by` or the addend.
  Range read_range(const Ref& source, bool pointwise, Range range) const;

  // Calls call(ref, whether it is `gated_by` or the addend) for each value that the node reads.
  template <class Call>
  void for_reads(Call call) const {
    for (const Ref& source : sources) call(source, false);
    for (const Ref& ref : {gated_by, addend}) {
      if (ref.value >= 0) call(ref, true);
    }
  }
};

struct Value {
  int channels = 0;
  int blocks = 0;
  int scale = 1;  // scale / divisor samples per input pixel
  int divisor = 1;
  int stage = 0;     // the stage that computes the value
  int last_use = 0;  // the last stage that reads the value
  // Size along an axis: floor((n + size_add) / size_divide) * size_factor + size_rest, with n the
  // size of value size_of; the size of the input if size_of is -1.
  int size_of = -1;
  int size_add = 0;
  int size_divide = 1;
  int size_factor = 1;
  int size_rest = 0;

  bool reread = false;  // the input, unless a mean stores it: each stage reads it anew

  // Whether a later stage reads the value, which then needs a full-size buffer.
  bool outlives_stage() const { return last_use > stage && !reread; }
};

// A vector with one element per channel.
struct Pooled {
  enum class Kind { input, mean, conv } kind = Kind::input;
  int channels = 0;
  int stage = 0;       // the first stage that may read the vector
  int input = 0;       // input: index among the pooled inputs
  Ref mean;            // mean: the averaged value
  int source = -1;     // conv: index of the vector to convolve
  Floats weights;      // (out, in)
  Floats bias;
  Floats slope;
  bool sigmoid = false;
};

class Program {
 public:
  explicit Program(int channels);

  // Each method appends an operation and returns the index of its result.
  struct ConvSpec {
    const float* weight;  // (out, in, k, k)
    const float* bias;    // (out)
    const float* slope;   // (out): 1 for no activation
    int in, out, kernel, stride, padding;
    // Factor of a pixel shuffle of the result, 0 for none; then `crop` samples are removed on each
    // side and `trim` more at the end. A shuffled convolution has stride 1 and is computed
    // directly.
    int shuffle = 0, crop = 0, trim = 0;
    // Applied to the result after the slopes. With a function or a factor there is no shuffle.
    Function function = Function::identity;
  };
  // The result is multiplied by the pooled vector `gate`, or by the value `gated_by`, then `addend`
  // is added; -1 for none. With a gate there is neither a shuffle nor a function.
  // Several sources are read as if their channels were joined; all but the last must have whole
  // blocks.
  int conv(std::vector<Ref> sources, const ConvSpec& spec, int gate, Ref gated_by, Ref addend);
  int add(Ref a, Ref b);
  int product(Ref a, Ref b);
  int multiply(Ref source, int gate);
  // scale, offset: a number for each channel.
  int affine(Ref source, const float* scale, const float* offset, int channels);
  int activate(Ref source, const float* slope, int channels);
  int smooth(Ref source, Function function);
  int concat(const std::vector<Ref>& sources);
  int upsample(Ref source, int factor);
  // addend: at most 16 channels, enlarged by `enlarged`, a divisor of the factor, and added; its
  // value is -1 for none.
  int shuffle(Ref source, int factor, Ref addend, int enlarged);
  int unshuffle(Ref source, int factor);
  // Bilinear (support 1) or bicubic (support 2), multiplier / divisor samples per sample.
  int resize(Ref source, int multiplier, int divisor, int support);

  // Starts a stage: all operations that follow compute whole values of the operations before. A
  // region then extends only over the context of its stage, at the cost of memory for those values.
  void cut();

  int pooled_input(int channels);
  int mean(Ref source);
  int pooled_conv(int source, const ConvSpec& spec, bool sigmoid);

  // Sets the output. No operation may be appended afterward. halo: rows and columns that a region
  // computes in addition to its own, on average over the operations.
  void finish(Ref output, int halo);

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Pooled>& pooled() const { return pooled_; }
  Ref output() const { return output_; }
  int stages() const { return stages_; }
  int halo() const { return halo_; }
  // Whether a stage computes a value, or reads it from the input.
  bool computes(int stage, int value) const {
    const Value& each = values_[static_cast<std::size_t>(value)];
    return each.stage == stage || each.reread;
  }
  int pooled_inputs() const { return pooled_inputs_; }
  // Columns of zero padding that a node may read beyond either edge of a value.
  int border() const { return border_; }

  // Sizes of all values along one axis for an input of `size`. Throws std::invalid_argument if a
  // value would be empty or too large, or if the operands of an operation differ in size.
  std::vector<int> sizes(int size) const;
  int channels(int value) const { return values_[static_cast<std::size_t>(value)].channels; }
  int pooled_channels(int p) const { return pooled_[static_cast<std::size_t>(p)].channels; }

 private:
  int push(Node node, Value value);
  int push_shuffle(Ref source, int factor, int crop, int trim, Ref addend = {}, int enlarged = 1);
  void require(Ref ref) const;
  void require_open() const;
  // Copies a cropped reference into a value of its own if its reader pads: padding must read zeros,
  // not the samples outside the crop.
  Ref materialize_if_padded(Ref ref, int padding);
  int copy(Ref source);
  Value& of(int value) { return values_[static_cast<std::size_t>(value)]; }

  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::vector<Pooled> pooled_;
  Ref output_;
  int stages_ = 1;
  int first_stage_ = 0;  // of the operations that follow
  int halo_ = 0;
  int pooled_inputs_ = 0;
  int border_ = kTileIn;  // the last tile of a row extends this far
};

inline std::size_t index(int i) { return static_cast<std::size_t>(i); }
inline int blocks_of(int channels) { return (channels + kBlock - 1) / kBlock; }
inline int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
inline int round_up(int x, int step) { return -floor_divide(-x, step) * step; }

}  // namespace waifu2x::engine
