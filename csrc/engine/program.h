// A network lowered to what the executor runs: spatial nodes over blocked values, pooled vectors
// between the stages, weights packed once.
//
// Coordinates: sample 0 of a value is the first that the operation gives for the whole input, so
// places are absolute, however the work is cut. Both axes are alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels.h"
#include "engine/memory.h"

namespace waifu2x::engine {

// A value, cut: sample i of the reference is sample i + offset of the value.
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

enum class Kind { input, conv, add, multiply, affine, activate, sigmoid, concat, upsample, shuffle };

// A convolution, and what was folded into it.
struct Conv {
  int kernel = 1;
  int stride = 1;
  int padding = 0;
  bool winograd = false;
  int depth = 0;   // input channels
  int blocks = 0;  // blocks of outputs before a shuffle
  Floats weights;  // see DirectRow and WinogradProduct
  std::ptrdiff_t weights_stride = 0;
  Floats bias;
  Floats slope;
  // A sub-pixel shuffle of the result, and a crop of it: what a transposed convolution becomes where
  // its channels fill blocks. Outputs are ordered (row phase, column phase, channel).
  int factor = 1;
  int crop = 0;
};

struct Node {
  Kind kind = Kind::input;
  int value = -1;            // the result
  std::vector<Ref> sources;  // read
  Ref addend;                // added to a convolution's result; value -1 for none
  Conv conv;
  float scale = 1.0f;   // affine
  float offset = 0.0f;  // affine
  Floats slope;         // activate
  int gate = -1;        // multiply: a pooled vector
  int factor = 1;       // upsample, shuffle
  int crop = 0;         // shuffle: cut from the result
  std::vector<int> channels;  // concat: of every source; shuffle: of the result

  // Rows or columns of the result that are computed when `wanted` is asked for, of `size` there are.
  Range computed(Range wanted, int size) const;
  // How far computing goes when the rows up to `wanted` are asked for.
  int advanced(int wanted, int size) const;
  // What of `source` is read to compute `range`, which may reach beyond what there is: zeros.
  Range reads(const Ref& source, bool is_addend, Range range) const;
};

struct Value {
  int channels = 0;
  int blocks = 0;
  int scale = 1;    // samples per input pixel are scale / divisor
  int divisor = 1;
  int stage = 0;    // the stage that computes it
  int last_use = 0;  // the last stage that reads it
  // The size along an axis is floor((n + size_add) / size_divide) * size_factor + size_rest of the
  // source's n.
  int size_of = -1;
  int size_add = 0;
  int size_divide = 1;
  int size_factor = 1;
  int size_rest = 0;

  // Whether it outlives its stage, and so is kept whole.
  bool carried() const { return last_use > stage; }
};

// Vectors of one number a channel.
struct Pooled {
  enum class Kind { given, mean, conv } kind = Kind::given;
  int channels = 0;
  int stage = 0;       // known before this stage begins
  int given = 0;       // given: which
  Ref mean;            // mean: of what
  int source = -1;     // conv: of which vector
  Floats weights;      // (out, in)
  Floats bias;
  Floats slope;
  bool sigmoid = false;
};

class Program {
 public:
  explicit Program(int channels);

  // Each adds an operation and returns the number of its result.
  struct ConvSpec {
    const float* weight;  // (out, in, k, k); transposed: (in, out, k, k)
    const float* bias;    // (out)
    const float* slope;   // (out): 1 for no activation
    int in, out, kernel, stride, padding;
    bool transposed;
  };
  int conv(Ref source, const ConvSpec& spec, Ref addend);
  int add(Ref a, Ref b);
  int multiply(Ref source, int gate);
  int affine(Ref source, float scale, float offset);
  int activate(Ref source, const float* slope, int channels);
  int sigmoid(Ref source);
  int concat(const std::vector<Ref>& sources);
  int upsample(Ref source, int factor);
  int shuffle(Ref source, int factor);

  int given(int channels);
  int mean(Ref source);
  int pooled_conv(int source, const ConvSpec& spec, bool sigmoid);

  // Ends building; nothing may be added after.
  void finish(Ref output);

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<Pooled>& pooled() const { return pooled_; }
  Ref output() const { return output_; }
  int stages() const { return stages_; }
  int givens() const { return givens_; }
  std::size_t weight_bytes() const;
  // Columns beyond either edge of a value that some node may read as zeros.
  int edge() const { return edge_; }

  // Sizes of all values along one axis for an input of `size`. Throws std::invalid_argument if one
  // would be empty or too large, or if values that are joined differ.
  std::vector<int> sizes(int size) const;
  int channels(int value) const { return values_[static_cast<std::size_t>(value)].channels; }
  int pooled_channels(int p) const { return pooled_[static_cast<std::size_t>(p)].channels; }

 private:
  int transposed(Ref source, const ConvSpec& spec, Ref addend);
  int push(Node node, Value value);
  void require(Ref ref) const;
  void require_open() const;
  // The reference, as a value of its own where something pads it: beyond a cut lies what was cut
  // away, not zeros.
  Ref with_edge(Ref ref, int padding);
  Value& of(int value) { return values_[static_cast<std::size_t>(value)]; }

  std::vector<Node> nodes_;
  std::vector<Value> values_;
  std::vector<Pooled> pooled_;
  Ref output_;
  int stages_ = 1;
  int givens_ = 0;
  int edge_ = kTileIn;  // what the last tile of a row reaches
};

inline std::size_t index(int i) { return static_cast<std::size_t>(i); }
inline int blocks_of(int channels) { return (channels + kBlock - 1) / kBlock; }
inline int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

}  // namespace waifu2x::engine
