// Matrix products, convolutions and normalisation: the operators whose weights are pruned. A
// constant weight is given the shape and the fold that the ONNX operator has, its bits untouched.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <numeric>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/window.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

EvalValue tensor(TensorRef value) { return EvalValue::of_tensor(std::move(value)); }

bool has_leading_ones(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end() - 2, [](int64_t extent) { return extent == 1; });
}

// A constant factor without its leading extents of 1, as the matrix that it is.
std::optional<ConstantPtr> as_matrix(const TensorRef& tensor) {
  if (tensor.constant == nullptr || tensor.constant->shape.size() < 2) return std::nullopt;
  const Shape& shape = tensor.constant->shape;
  if (!has_leading_ones(shape)) return std::nullopt;
  return reshaped(tensor.constant, {shape[shape.size() - 2], shape.back()});
}

TensorRef with_fold(const ConstantPtr& constant, const Fold& fold) {
  return {kNoValue, folded(constant, fold)};
}

// [outputs, inputs], as Gemm with transB reads it; [inputs, outputs] otherwise.
TensorRef right_factor(const ConstantPtr& matrix, bool outputs_first) {
  const auto rows = static_cast<size_t>(matrix->shape[0]);
  const auto cols = static_cast<size_t>(matrix->shape[1]);
  return with_fold(matrix, outputs_first ? Fold{1, rows, cols, false} : Fold{1, cols, rows, true});
}

// The shape of a product, from those of its factors as they are after transposition.
std::optional<Shape> product_shape(const std::optional<Shape>& a, const std::optional<Shape>& b,
                                   bool transpose_a, bool transpose_b) {
  if (!a || !b) return std::nullopt;
  const size_t rank = a->size();
  Shape result = *a;
  for (size_t i = 0; i + 2 < rank; ++i) {
    if (result[i] == 1 || (result[i] < 0 && (*b)[i] > 1)) result[i] = (*b)[i];
  }
  result[rank - 2] = (*a)[transpose_a ? rank - 1 : rank - 2];
  result[rank - 1] = (*b)[transpose_b ? rank - 2 : rank - 1];
  return result;
}

void check_inner_extents(const Call& call, const Shape& a, const Shape& b, bool transpose_a,
                         bool transpose_b) {
  const int64_t left = a[transpose_a ? a.size() - 2 : a.size() - 1];
  const int64_t right = b[transpose_b ? b.size() - 1 : b.size() - 2];
  if (left >= 0 && right >= 0 && left != right) {
    call.fail(fmt::format("factors {} and {} do not match", to_string(a), to_string(b)));
  }
}

// Gemm where a matrix constant is transposed, else MatMul; transposes of computed factors become
// nodes.
TensorRef matrix_product(const Call& call, const TensorRef& a, const TensorRef& b, bool transpose_a,
                         bool transpose_b) {
  const Shape a_shape = call.shape(a), b_shape = call.shape(b);
  const size_t rank = a_shape.size();
  if (rank != b_shape.size() || rank < 2) {
    call.fail(fmt::format("factors {} and {} must be of equal rank, 2 or more", to_string(a_shape),
                          to_string(b_shape)));
  }
  check_inner_extents(call, a_shape, b_shape, transpose_a, transpose_b);
  const OutputInfo output{call.graph.dtype(a),
                          product_shape(a_shape, b_shape, transpose_a, transpose_b)};
  const std::optional<ConstantPtr> matrix = as_matrix(b);
  if (matrix && rank == 2 && (transpose_b || transpose_a)) {
    std::vector<Attribute> attributes;
    if (transpose_a) attributes.push_back(attribute("transA", int64_t{1}));
    if (transpose_b) attributes.push_back(attribute("transB", int64_t{1}));
    return call.graph.node("Gemm", {a, right_factor(*matrix, transpose_b)}, output,
                           std::move(attributes));
  }
  const TensorRef left = transpose_a ? swap_last_axes(call.graph, a, rank) : a;
  if (matrix) {
    // [inputs, outputs] whatever the file has: as ONNX's MatMul reads it.
    const ConstantPtr laid_out = transpose_b ? transposed(*matrix) : *matrix;
    return call.graph.node("MatMul", {left, right_factor(laid_out, false)}, output);
  }
  const TensorRef right = transpose_b ? swap_last_axes(call.graph, b, rank) : b;
  if (const std::optional<ConstantPtr> weight = as_matrix(left)) {
    const Fold fold{1, static_cast<size_t>((*weight)->shape[0]),
                    static_cast<size_t>((*weight)->shape[1]), false};
    return call.graph.node("MatMul", {with_fold(*weight, fold), right}, output);
  }
  return call.graph.node("MatMul", {left, right}, output);
}

EvalValue matmul(const Call& call) {
  const TensorRef a = call.tensor("A", DType::kF32), b = call.tensor("B", DType::kF32);
  return tensor(matrix_product(call, a, b, call.logical("transposeA"), call.logical("transposeB")));
}

bool is_zero_literal(const EvalValue& value) { return value.is_number() && value.number() == 0; }

// [1, M] and [M] as [M], a scalar repeated; kNoValue for the literal 0.0.
TensorRef bias_of(const Call& call, int64_t outputs) {
  const EvalValue& given = call.argument("bias");
  if (is_zero_literal(given)) return {};
  const TensorRef bias = call.tensor("bias", DType::kF32);
  const Shape shape = call.shape(bias);
  const Shape wanted = {outputs};
  const auto known = [](int64_t extent) { return extent >= 0; };
  if (!std::ranges::all_of(shape, known) || outputs < 0) throw NotTranslated{};
  if (element_count(shape) == 1 && outputs != 1) {
    const auto* value = bias.constant == nullptr ? nullptr : bias.constant->dense();
    if (value == nullptr || !is_float(value->dtype())) throw NotTranslated{};
    call.reading.budget.spend(static_cast<size_t>(outputs));
    const std::vector<float> repeated(static_cast<size_t>(outputs), to_f32(*value)[0]);
    return {kNoValue,
            make_constant(bias.constant->name, from_f32(repeated, value->dtype(), wanted))};
  }
  if (element_count(shape) != element_count(wanted)) {
    call.fail(fmt::format("bias {} for {} outputs", to_string(shape), outputs));
  }
  return reshape(call.graph, bias, wanted);
}

EvalValue linear(const Call& call) {
  const TensorRef x = call.tensor("input", DType::kF32), w = call.tensor("filter", DType::kF32);
  const std::optional<ConstantPtr> matrix = as_matrix(w);
  if (!matrix || call.rank(x) != 2 || call.rank(w) != 2) throw NotTranslated{};
  const Shape x_shape = call.shape(x);
  check_inner_extents(call, x_shape, (*matrix)->shape, false, true);
  std::vector<TensorRef> inputs = {x, right_factor(*matrix, true)};
  const TensorRef bias = bias_of(call, (*matrix)->shape[0]);
  if (bias.constant != nullptr || bias.id != kNoValue) inputs.push_back(bias);
  return tensor(call.graph.node("Gemm", inputs,
                                {call.graph.dtype(x), Shape{x_shape[0], (*matrix)->shape[0]}},
                                {attribute("transB", int64_t{1})}));
}

// groups = 0 is one filter per channel.
int64_t groups_of(const Call& call, const Shape& input, int64_t channels) {
  const int64_t groups = call.integer("groups");
  if (groups < 0) call.fail(fmt::format("{} groups", groups));
  if (groups > 0) return groups;
  const int64_t each = input[1] > 0 ? input[1] : channels;
  if (each < 1) call.fail("groups = 0 requires a filter per channel, the filter has no channels");
  return each;
}

void require_zero_border(const Call& call, const Window& window) {
  const std::string& border = call.text("border");
  if (border != "constant" && !window.is_unpadded()) throw NotTranslated{};
}

// Conv with the filter [O, I / groups, ...]; a constant filter folds to one part per group.
EvalValue conv(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  TensorRef filter = call.tensor("filter", DType::kF32);
  const Shape from = call.shape(input), weight = call.shape(filter);
  if (from.size() != weight.size() || from.size() < 3) {
    call.fail(fmt::format("input {} and filter {} must be [N, C, spatial...]", to_string(from),
                          to_string(weight)));
  }
  const int64_t groups = groups_of(call, from, weight[0]);
  if (weight[0] % groups != 0 ||
      (from[1] >= 0 && checked_mul(weight[1], groups).value_or(-1) != from[1])) {
    call.fail(fmt::format("filter {} in {} groups does not fit input {}", to_string(weight), groups,
                          to_string(from)));
  }
  const Window window = window_of(call, from, {weight.begin() + 2, weight.end()}, 0);
  require_zero_border(call, window);
  if (filter.constant != nullptr && element_count(weight) > 0) {
    const auto parts = static_cast<size_t>(groups);
    const size_t rows = static_cast<size_t>(weight[0]) / parts;
    filter =
        with_fold(filter.constant, {parts, rows, element_count(weight) / (parts * rows), false});
  }
  std::vector<TensorRef> inputs = {input, filter};
  const TensorRef bias = bias_of(call, weight[0]);
  if (bias.constant != nullptr || bias.id != kNoValue) inputs.push_back(bias);
  Shape to = {from[0], weight[0]};
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    to.push_back(window.output_extent(i, from[i + 2]));
  }
  std::vector<Attribute> attributes = window.attributes();
  attributes.push_back(attribute("group", groups));
  return tensor(
      call.graph.node("Conv", inputs, {call.graph.dtype(input), to}, std::move(attributes)));
}

// In a file with tract's registries, a filter of deconv is what tract takes it for: [output
// channels, input channels / groups, ...], as for conv.
bool has_tract_filters(const Call& call) {
  return std::ranges::any_of(call.reading.document.extensions, [](const auto& words) {
    return !words.empty() && words[0] == "tract_registry";
  });
}

// [input channels, output channels / groups, ...], as the specification and ONNX have it.
TensorRef as_onnx_filter(const Call& call, const TensorRef& filter, int64_t groups) {
  const Shape shape = call.shape(filter);
  std::vector<int64_t> axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (groups == 1) {
    std::swap(axes[0], axes[1]);
    return transpose(call.graph, filter, axes);
  }
  Shape apart = shape;
  apart[0] /= groups;
  apart.insert(apart.begin(), groups);
  axes.push_back(static_cast<int64_t>(axes.size()));
  std::swap(axes[1], axes[2]);
  Shape joined = shape;
  joined[0] = shape[1] * groups;
  joined[1] = shape[0] / groups;
  return reshape(call.graph, transpose(call.graph, reshape(call.graph, filter, apart), axes),
                 joined);
}

// ConvTranspose; output_shape becomes output_padding, filters of tract are laid out anew.
EvalValue deconv(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  TensorRef filter = call.tensor("filter", DType::kF32);
  const Shape from = call.shape(input), weight = call.shape(filter);
  if (from.size() != weight.size() || from.size() < 3) {
    call.fail(fmt::format("input {} and filter {} must be [N, C, spatial...]", to_string(from),
                          to_string(weight)));
  }
  Window window = window_of(call, from, {weight.begin() + 2, weight.end()}, 0);
  const std::vector<int64_t> more = pad_transposed(call, window, from);
  require_zero_border(call, window);
  const bool is_tract = has_tract_filters(call);
  const int64_t groups = groups_of(call, from, weight[0]);
  const int64_t inputs = is_tract ? checked_mul(weight[1], groups).value_or(-1) : weight[0];
  if (weight[0] % groups != 0 || (from[1] >= 0 && from[1] != inputs)) {
    call.fail(fmt::format("filter {} in {} groups does not fit input {}", to_string(weight), groups,
                          to_string(from)));
  }
  const int64_t channels = is_tract ? weight[0] : checked_mul(weight[1], groups).value_or(-1);
  if (is_tract) filter = as_onnx_filter(call, filter, groups);
  std::vector<TensorRef> operands = {input, filter};
  const TensorRef bias = bias_of(call, channels);
  if (bias.constant != nullptr || bias.id != kNoValue) operands.push_back(bias);
  Shape to = {from[0], channels};
  for (size_t i = 0; i < window.kernel.size(); ++i) {
    const int64_t extent = window.input_extent(i, from[i + 2]);
    to.push_back(extent < 0 ? -1 : extent + more[i]);
  }
  std::vector<Attribute> attributes = window.attributes();
  attributes.push_back(attribute("group", groups));
  if (std::ranges::any_of(more, [](int64_t one) { return one != 0; })) {
    attributes.push_back(attribute("output_padding", more));
  }
  return tensor(call.graph.node("ConvTranspose", operands, {call.graph.dtype(input), to},
                                std::move(attributes)));
}

// Statistics are [1, C] or [C].
EvalValue batch_normalization(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  std::vector<TensorRef> inputs = {input};
  for (const std::string_view name : {"scale", "offset", "mean", "variance"}) {
    const TensorRef statistic = call.tensor(name, DType::kF32);
    const bool constant = statistic.constant != nullptr;
    const Shape shape = call.shape(statistic);
    const bool by_channel = shape.size() <= 2 && (shape.size() < 2 || shape[0] == 1);
    const Shape from = call.shape(input);
    const bool fits = constant && by_channel && from.size() >= 2 && !shape.empty() &&
                      (from[1] < 0 || from[1] == shape.back());
    if (!fits) throw NotTranslated{};
    inputs.push_back({kNoValue, reshaped(statistic.constant, {shape.back()})});
  }
  return tensor(call.graph.node(
      "BatchNormalization", inputs, {call.graph.dtype(input), call.graph.shape(input)},
      {attribute("epsilon", static_cast<float>(call.scalar("epsilon")))}));
}

// Over an odd number of channels it is ONNX's; any other window is expanded.
EvalValue local_response_normalization(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  std::vector<int64_t> size = call.integers("size");
  if (size.size() < 3 || size.size() != call.rank(input)) throw NotTranslated{};
  const int64_t channels = size[1];
  size[1] = 1;
  const auto is_one = [](int64_t extent) { return extent == 1; };
  if (!std::ranges::all_of(size, is_one) || channels < 1 || channels % 2 == 0) {
    throw NotTranslated{};
  }
  const auto scalar = [&](const char* name, const char* parameter) {
    return attribute(name, static_cast<float>(call.scalar(parameter)));
  };
  return tensor(call.graph.node("LRN", {input}, {call.graph.dtype(input), call.graph.shape(input)},
                                {attribute("size", channels), scalar("alpha", "alpha"),
                                 scalar("beta", "beta"), scalar("bias", "bias")}));
}

// Extents of the result by the letters of the subscripts: "amk,nk->mn".
std::optional<Shape> einsum_shape(const Call& call, const std::string& equation,
                                  const std::vector<TensorRef>& inputs) {
  std::map<char, int64_t> extents;
  size_t input = 0, axis = 0;
  const size_t arrow = equation.find("->");
  if (arrow == std::string::npos) throw NotTranslated{};
  std::optional<Shape> shape = call.graph.shape(inputs[0]);
  for (const char letter : equation.substr(0, arrow)) {
    if (letter == ',') {
      if (++input >= inputs.size()) call.fail("expr names more inputs than are given");
      shape = call.graph.shape(inputs[input]);
      axis = 0;
      continue;
    }
    if (std::isalpha(static_cast<unsigned char>(letter)) == 0) throw NotTranslated{};
    if (shape && axis >= shape->size()) call.fail("expr does not match the rank of an input");
    const int64_t extent = shape ? (*shape)[axis++] : -1;
    int64_t& known = extents.emplace(letter, extent).first->second;
    if (known == 1 || known < 0) known = std::max(known, extent);
  }
  Shape result;
  for (const char letter : equation.substr(arrow + 2)) {
    const auto found = extents.find(letter);
    if (found == extents.end()) call.fail("expr has a result axis that no input has");
    result.push_back(found->second);
  }
  return result;
}

// Subscripts of tract are those of ONNX.
EvalValue einsum(const Call& call) {
  if (!call.text("output").empty()) throw NotTranslated{};
  const std::vector<TensorRef> inputs = call.tensors("inputs");
  if (inputs.empty()) call.fail("inputs is empty");
  const std::string& equation = call.text("expr");
  return tensor(call.graph.node("Einsum", inputs,
                                {call.graph.dtype(inputs[0]), einsum_shape(call, equation, inputs)},
                                {attribute("equation", equation)}));
}

constexpr std::array kTranslators = {
    Translator{"matmul", matmul, "MatMul Gemm Transpose"},
    Translator{"linear", linear, "Gemm"},
    Translator{"conv", conv, "Conv"},
    Translator{"deconv", deconv, "ConvTranspose Transpose Reshape"},
    Translator{"batch_normalization", batch_normalization, "BatchNormalization"},
    Translator{"local_response_normalization", local_response_normalization, "LRN"},
    Translator{"tract_core_einsum", einsum, "Einsum"},
};

}  // namespace

std::span<const Translator> layer_translators() { return kTranslators; }

}  // namespace espalier::nnef
