// BatchNormalization, Mul and Add by a constant per channel go into the weight and the bias of the
// convolution before them.

#include <algorithm>
#include <array>
#include <cmath>

#include "lib/passes/graph_editor.h"
#include "lib/sparse/sparse_matrix.h"

namespace espalier {
namespace {

// y = scale x + shift per output channel, computed in f64.
struct Affine {
  std::vector<double> scale, shift;
};

// Values per channel of a constant that is broadcast along the channels of a result of `rank` axes.
std::optional<std::vector<double>> per_channel(const GraphEditor& editor, ValueId value,
                                               size_t rank, size_t channels) {
  const Tensor* tensor = editor.f32_constant(value);
  if (tensor == nullptr || tensor->shape().size() > rank) return std::nullopt;
  const size_t front = rank - tensor->shape().size();
  for (size_t i = 0; i < tensor->shape().size(); ++i) {
    const bool is_channel = front + i == 1;
    const auto extent = static_cast<size_t>(tensor->shape()[i]);
    if (extent != 1 && !(is_channel && extent == channels)) return std::nullopt;
  }
  const std::vector<float> values = to_f32(*tensor);
  if (values.size() == 1) return std::vector<double>(channels, values[0]);
  return std::vector<double>(values.begin(), values.end());
}

std::optional<Affine> batch_normalization(const GraphEditor& editor, const Node& node,
                                          size_t channels) {
  if (!is_op(node, "BatchNormalization") || node.inputs.size() < 5 ||
      int_attribute(node, "training_mode", 0) != 0 || int_attribute(node, "spatial", 1) == 0 ||
      std::count_if(node.outputs.begin(), node.outputs.end(),
                    [](ValueId output) { return output != kNoValue; }) != 1) {
    return std::nullopt;
  }
  std::array<std::vector<float>, 4> values;  // scale, bias, mean, variance
  for (size_t i = 0; i < 4; ++i) {
    const Tensor* tensor = editor.f32_constant(node.inputs[1 + i]);
    if (tensor == nullptr || tensor->count() != channels) return std::nullopt;
    values[i] = to_f32(*tensor);
  }
  const double epsilon = float_attribute(node, "epsilon", 1e-5F);
  Affine affine;
  for (size_t c = 0; c < channels; ++c) {
    const double factor = values[0][c] / std::sqrt(values[3][c] + epsilon);
    affine.scale.push_back(factor);
    affine.shift.push_back(values[1][c] - values[2][c] * factor);
  }
  return affine;
}

// What a node does to its input from a convolution, and which input that is.
struct Use {
  Affine affine;
  size_t input = 0;
};
std::optional<Use> affine_of(const GraphEditor& editor, const Node& node, size_t input, size_t rank,
                             size_t channels) {
  if (input == 0) {
    if (auto normal = batch_normalization(editor, node, channels)) return Use{*normal, 0};
  }
  const bool add = is_op(node, "Add"), mul = is_op(node, "Mul");
  if ((!add && !mul) || node.inputs.size() != 2) return std::nullopt;
  auto values = per_channel(editor, node.inputs[1 - input], rank, channels);
  if (!values) return std::nullopt;
  std::vector<double> plain(channels, add ? 1 : 0);
  return add ? Use{{std::move(plain), std::move(*values)}, input}
             : Use{{std::move(*values), std::move(plain)}, input};
}

// The weight with each output channel scaled; nothing where a number leaves f32, so that infinities
// and NaN stay what the model makes them.
std::optional<Tensor> scaled(const Tensor& weight, bool transposed, size_t groups,
                             const std::vector<double>& scale) {
  const Shape& shape = weight.shape();
  Tensor result = Tensor::zeros(DType::kF32, shape);
  const Tensor from = weight.aligned();
  const auto to = result.mutable_data<float>();
  const auto rows = static_cast<size_t>(shape[0]), columns = static_cast<size_t>(shape[1]);
  const size_t places = from.count() / std::max<size_t>(rows * columns, 1);
  for (size_t i = 0; i < from.count(); ++i) {
    const size_t row = i / (columns * places), column = i / places % columns;
    // [O, I / groups, ...]; transposed: [I, O / groups, ...]
    const size_t channel = transposed ? row / (rows / groups) * columns + column : row;
    to[i] = static_cast<float>(from.data<float>()[i] * scale[channel]);
    if (!std::isfinite(to[i])) return std::nullopt;
  }
  return result;
}

std::optional<SparseMatrix> scaled(const SparseMatrix& packed, const std::vector<double>& scale) {
  if (packed.values.dtype() != DType::kF32 || packed.dtype != DType::kF32 || packed.has_diagonal())
    return std::nullopt;
  SparseMatrix result = packed;
  Tensor values = Tensor::zeros(DType::kF32, packed.values.shape());
  const Tensor from = packed.values.aligned();
  const auto to = values.mutable_data<float>();
  const size_t area = size_t{packed.block.rows} * packed.block.cols;
  for (size_t block_row = 0; block_row + 1 < packed.row_start.size(); ++block_row) {
    const size_t part = block_row / packed.grid_rows(), in_part = block_row % packed.grid_rows();
    for (size_t block = packed.row_start[block_row]; block < packed.row_start[block_row + 1];
         ++block) {
      for (size_t i = 0; i < area; ++i) {
        const size_t row = in_part * packed.block.rows + i / packed.block.cols;
        if (row >= packed.fold.rows) continue;  // a block that sticks out
        const size_t at = block * area + i;
        to[at] = static_cast<float>(from.data<float>()[at] * scale[part * packed.fold.rows + row]);
        if (!std::isfinite(to[at])) return std::nullopt;
      }
    }
  }
  result.values = std::move(values);
  return result;
}

std::optional<Weight> scaled_weight(const Weight& weight, bool transposed, size_t groups,
                                    const std::vector<double>& scale) {
  if (!weight.is_sparse()) {
    auto dense = scaled(weight.dense(), transposed, groups, scale);
    return dense ? std::optional(Weight{std::move(*dense), {}}) : std::nullopt;
  }
  if (transposed) return std::nullopt;
  auto packed = scaled(weight.sparse(), scale);
  return packed ? std::optional(Weight{std::move(*packed), {}}) : std::nullopt;
}

std::optional<Tensor> moved_bias(const GraphEditor& editor, const Node& conv,
                                 const Affine& affine) {
  const size_t channels = affine.scale.size();
  std::vector<float> bias(channels, 0);
  if (conv.inputs.size() > 2 && conv.inputs[2] != kNoValue) {
    const Tensor* given = editor.f32_constant(conv.inputs[2]);
    if (given == nullptr || given->count() != channels) return std::nullopt;
    bias = to_f32(*given);
  }
  for (size_t c = 0; c < channels; ++c) {
    bias[c] = static_cast<float>(bias[c] * affine.scale[c] + affine.shift[c]);
    if (!std::isfinite(bias[c])) return std::nullopt;
  }
  return Tensor::of<float>({static_cast<int64_t>(channels)}, bias);
}

// The convolution that makes input `input` of a node, and what is known of it.
struct Conv {
  size_t index, channels, rank, groups;
  bool transposed;
  const Weight* weight;
};
std::optional<Conv> conv_of(const GraphEditor& editor, ValueId value) {
  auto made = editor.own_maker(value, "Conv");
  const bool transposed = !made;
  if (!made) made = editor.own_maker(value, "ConvTranspose");
  if (!made || editor.node(*made).inputs.size() < 2) return std::nullopt;
  const Node& node = editor.node(*made);
  const Weight* weight = editor.constant(node.inputs[1]);
  const int64_t groups = int_attribute(node, "group", 1);
  if (weight == nullptr || weight->dtype() != DType::kF32 || weight->shape().size() < 3)
    return std::nullopt;
  const Shape& shape = weight->shape();
  if (groups < 1 || shape[0] < 1 || shape[1] < 1 || shape[0] % groups != 0) return std::nullopt;
  const auto g = static_cast<size_t>(groups);
  const size_t channels =
      transposed ? static_cast<size_t>(shape[1]) * g : static_cast<size_t>(shape[0]);
  return Conv{*made, channels, shape.size(), g, transposed, weight};
}

void match(GraphEditor& editor, size_t root, const Graph& graph) {
  const size_t inputs = std::min<size_t>(editor.node(root).inputs.size(), 2);
  for (size_t input = 0; input < inputs; ++input) {
    const auto conv = conv_of(editor, editor.node(root).inputs[input]);
    if (!conv) continue;
    const auto use = affine_of(editor, editor.node(root), input, conv->rank, conv->channels);
    if (!use) continue;
    const auto bias = moved_bias(editor, editor.node(conv->index), use->affine);
    if (!bias) continue;
    Node fused = editor.node(conv->index);
    const std::string name = graph.values[fused.inputs[1]].name;
    if (std::ranges::any_of(use->affine.scale, [](double s) { return s != 1; })) {
      auto weight = scaled_weight(*conv->weight, conv->transposed, conv->groups, use->affine.scale);
      if (!weight) continue;
      fused.inputs[1] = editor.add_weight(name, std::move(*weight));
    }
    fused.inputs.resize(3, kNoValue);
    fused.inputs[2] = editor.add_weight(name + ".bias", {*bias, {}});
    return editor.replace(root, std::move(fused), {conv->index});
  }
}

void run(Graph& graph, PassContext& context) {
  GraphEditor editor(graph, context);
  for (size_t i = 0; i < editor.size(); ++i) match(editor, i, graph);
  editor.finish();
}

}  // namespace

constinit const Pass conv_affine_pass{
    .name = "conv_affine",
    .summary = "BatchNormalization, Mul and Add by constants: into the convolution before them",
    .run = run};

}  // namespace espalier
