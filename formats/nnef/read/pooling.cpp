// Pools: size, stride, padding and dilation have entries for batch and channels in front.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/nnef/read/call.h"
#include "formats/nnef/read/window.h"
#include "lib/base/checked_math.h"
#include "lib/base/error.h"

namespace espalier::nnef {
namespace {

struct Pool {
  TensorRef input;
  Window window;
  OutputInfo output;
  int64_t area = 1;
};

Pool pool_of(const Call& call) {
  Pool pool;
  pool.input = call.tensor("input", DType::kF32);
  const Shape from = call.shape(pool.input);
  std::vector<int64_t> size = call.integers("size");
  if (size.size() != from.size()) {
    call.fail(fmt::format("size has {} values for rank {}", size.size(), from.size()));
  }
  // Over batch or channels is no pool that ONNX knows.
  if (size.size() < 3 || size[0] != 1 || size[1] != 1) throw NotTranslated{};
  size.erase(size.begin(), size.begin() + 2);
  pool.window = window_of(call, from, size, 2);
  Shape to = {from[0], from[1]};
  for (size_t i = 0; i < size.size(); ++i) {
    to.push_back(pool.window.output_extent(i, from[i + 2]));
    pool.area = checked_mul(pool.area, size[i]).value_or(0);
  }
  pool.output = {call.graph.dtype(pool.input), to};
  return pool;
}

// With border 'constant' the zeros around the input take part in the maximum.
EvalValue max_pool(const Call& call) {
  Pool pool = pool_of(call);
  const std::string& border = call.text("border");
  const bool unpadded = pool.window.is_unpadded();
  if (!unpadded && border == "constant" && !pool.window.pads_like_same) {
    std::vector<int64_t> pads = {0, 0};
    pads.insert(pads.end(), pool.window.before.begin(), pool.window.before.end());
    pads.insert(pads.end(), {0, 0});
    pads.insert(pads.end(), pool.window.after.begin(), pool.window.after.end());
    Shape padded = call.shape(pool.input);
    for (size_t i = 0; i < pool.window.kernel.size(); ++i) {
      if (padded[i + 2] >= 0) padded[i + 2] += pool.window.before[i] + pool.window.after[i];
    }
    pool.input =
        call.graph.node("Pad", {pool.input, call.graph.integers("pads", pads)},
                        {pool.output.dtype, padded}, {attribute("mode", std::string("constant"))});
    std::ranges::fill(pool.window.before, 0);
    std::ranges::fill(pool.window.after, 0);
  } else if (!unpadded && border != "ignore") {
    throw NotTranslated{};
  }
  return EvalValue::of_tensor(
      call.graph.node("MaxPool", {pool.input}, pool.output, pool.window.attributes()));
}

Attribute counts_padding(bool counts) {
  return attribute("count_include_pad", int64_t{counts ? 1 : 0});
}

// Without dilations where there are none: AveragePool has these from opset 19 on, and a file in ONNX
// gets that opset for them (formats/onnx/at_opset.cpp).
std::vector<Attribute> average_attributes(const Window& window, bool counts) {
  std::vector<Attribute> attributes = window.attributes();
  if (std::ranges::all_of(window.dilations, [](int64_t dilation) { return dilation == 1; }))
    std::erase_if(attributes, [](const Attribute& one) { return one.name == "dilations"; });
  attributes.push_back(counts_padding(counts));
  return attributes;
}

// A window over batch or channels: axis after axis, each turned to the end for its turn.
EvalValue box_by_axes(const Call& call) {
  TensorRef tensor = call.tensor("input", DType::kF32);
  Shape from = call.shape(tensor);
  const size_t rank = from.size();
  const std::vector<int64_t> size = call.integers("size");
  if (size.size() != rank) {
    call.fail(fmt::format("size has {} values for rank {}", size.size(), rank));
  }
  Shape outer = {1, 1};
  outer.insert(outer.end(), from.begin(), from.end());
  const Window whole = window_of(call, outer, size, 0);
  const std::string& border = call.text("border");
  const bool normalize = call.logical("normalize");
  if (rank > 5 || (!whole.is_unpadded() && border != "constant" && border != "ignore")) {
    throw NotTranslated{};
  }
  const size_t axes = std::max<size_t>(rank, 3) - 2;  // that a pool of this rank has
  for (size_t i = 0; i < rank; ++i) {
    const bool padded = whole.before[i] != 0 || whole.after[i] != 0;
    if (whole.kernel[i] == 1 && whole.strides[i] == 1 && !padded) continue;
    Window window;
    for (auto* values : {&window.kernel, &window.strides, &window.dilations})
      values->assign(axes, 1);
    for (auto* values : {&window.before, &window.after}) values->assign(axes, 0);
    window.kernel.back() = whole.kernel[i];
    window.strides.back() = whole.strides[i];
    window.dilations.back() = whole.dilations[i];
    window.before.back() = whole.before[i];
    window.after.back() = whole.after[i];
    window.pads_like_same = whole.pads_like_same;
    std::vector<int64_t> order, back(rank), added;
    for (size_t j = 0; j < rank; ++j) {
      if (j != i) order.push_back(static_cast<int64_t>(j));
    }
    order.push_back(static_cast<int64_t>(i));
    for (size_t j = 0; j < rank; ++j) back[static_cast<size_t>(order[j])] = static_cast<int64_t>(j);
    for (size_t j = rank; j < 3; ++j) added.push_back(static_cast<int64_t>(added.size()));
    from[i] = whole.output_extent(i, from[i]);
    tensor = transpose(call.graph, tensor, order);
    Shape to = call.shape(tensor);
    if (!added.empty()) {
      Shape raised(added.size(), 1);
      raised.insert(raised.end(), to.begin(), to.end());
      tensor = call.graph.node("Unsqueeze", {tensor, call.graph.integers("axes", added)},
                               {call.graph.dtype(tensor), raised});
    }
    to = call.shape(tensor);
    to.back() = from[i];
    tensor = call.graph.node("AveragePool", {tensor}, {call.graph.dtype(tensor), to},
                             average_attributes(window, !normalize || border == "constant"));
    if (!normalize) {
      const ConstantPtr factor =
          literal_constant(EvalValue::of_integer(whole.kernel[i]), call.graph.dtype(tensor));
      if (factor == nullptr) throw NotTranslated{};
      tensor = call.graph.node("Mul", {tensor, {kNoValue, factor}},
                               {call.graph.dtype(tensor), call.graph.shape(tensor)});
    }
    if (!added.empty()) {
      to.erase(to.begin(), to.begin() + static_cast<ptrdiff_t>(added.size()));
      tensor = call.graph.node("Squeeze", {tensor, call.graph.integers("axes", added)},
                               {call.graph.dtype(tensor), to});
    }
    tensor = transpose(call.graph, tensor, back);
  }
  return EvalValue::of_tensor(tensor);
}

bool is_spatial(const Call& call) {
  const std::vector<int64_t> size = call.integers("size");
  return size.size() > 2 && size[0] == 1 && size[1] == 1;
}

// A sum over the window, or its mean: over the whole window with border 'constant', over what lies
// inside the input with 'ignore'.
EvalValue box(const Call& call) {
  if (!is_spatial(call)) return box_by_axes(call);
  const Pool pool = pool_of(call);
  const bool normalize = call.logical("normalize");
  const std::string& border = call.text("border");
  if (!pool.window.is_unpadded() && border != "constant" && border != "ignore") {
    throw NotTranslated{};
  }
  const bool whole_window = !normalize || border == "constant";
  ConstantPtr factor;
  if (!normalize) {
    factor = literal_constant(EvalValue::of_integer(pool.area), pool.output.dtype);
    if (factor == nullptr || pool.area == 0) throw NotTranslated{};
  }
  const TensorRef mean = call.graph.node("AveragePool", {pool.input}, pool.output,
                                         average_attributes(pool.window, whole_window));
  if (normalize) return EvalValue::of_tensor(mean);
  return EvalValue::of_tensor(call.graph.node("Mul", {mean, {kNoValue, factor}}, pool.output));
}

// The transpose of box: each element is added to the window that it stands for, or its share.
EvalValue debox(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  const Shape from = call.shape(input);
  std::vector<int64_t> size = call.integers("size");
  if (size.size() != from.size()) {
    call.fail(fmt::format("size has {} values for rank {}", size.size(), from.size()));
  }
  if (!is_spatial(call) || from[1] < 1) throw NotTranslated{};
  size.erase(size.begin(), size.begin() + 2);
  Window window = window_of(call, from, size, 2);
  const std::vector<int64_t> more = pad_transposed(call, window, from);
  if (!window.is_unpadded() && call.text("border") != "constant") throw NotTranslated{};
  Shape filter = {from[1], 1}, to = {from[0], from[1]};
  double area = 1;
  for (size_t i = 0; i < size.size(); ++i) {
    filter.push_back(size[i]);
    area *= static_cast<double>(size[i]);
    const int64_t extent = window.input_extent(i, from[i + 2]);
    to.push_back(extent < 0 ? -1 : extent + more[i]);
  }
  call.reading.budget.spend(element_count(filter));
  const std::vector<float> share(element_count(filter),
                                 call.logical("normalize") ? static_cast<float>(1 / area) : 1.0F);
  const DType dtype = call.graph.dtype(input);
  if (!is_float(dtype)) throw NotTranslated{};
  std::vector<Attribute> attributes = window.attributes();
  attributes.push_back(attribute("group", from[1]));
  if (std::ranges::any_of(more, [](int64_t one) { return one != 0; })) {
    attributes.push_back(attribute("output_padding", more));
  }
  return EvalValue::of_tensor(call.graph.node(
      "ConvTranspose", {input, {kNoValue, make_constant("window", from_f32(share, dtype, filter))}},
      {dtype, to}, std::move(attributes)));
}

// Resize by whole factors over the spatial axes.
EvalValue upsample(const Call& call, std::vector<Attribute> attributes) {
  const TensorRef input = call.tensor("input", DType::kF32);
  const Shape from = call.shape(input);
  const std::vector<int64_t> factor = call.integers("factor");
  if (factor.size() + 2 != from.size()) call.fail("expected one factor per spatial axis");
  std::vector<float> scales = {1, 1};
  Shape to = {from[0], from[1]};
  for (size_t i = 0; i < factor.size(); ++i) {
    if (factor[i] < 1 || factor[i] > INT32_MAX) call.fail(fmt::format("a factor is {}", factor[i]));
    scales.push_back(static_cast<float>(factor[i]));
    to.push_back(from[i + 2] < 0 ? -1 : checked_mul(from[i + 2], factor[i]).value_or(-1));
  }
  const Shape count = {static_cast<int64_t>(scales.size())};
  const TensorRef by{kNoValue, make_constant("scales", from_f32(scales, DType::kF32, count))};
  return EvalValue::of_tensor(call.graph.node(
      "Resize", {input, {}, by}, {call.graph.dtype(input), to}, std::move(attributes)));
}

EvalValue nearest_upsample(const Call& call) {
  return upsample(call, {attribute("mode", std::string("nearest")),
                         attribute("nearest_mode", std::string("floor")),
                         attribute("coordinate_transformation_mode", std::string("asymmetric"))});
}

EvalValue multilinear_upsample(const Call& call) {
  if (call.text("border") != "replicate") throw NotTranslated{};
  const std::string& method = call.text("method");
  std::string coordinates;
  if (method == "symmetric") coordinates = "half_pixel";
  if (method == "asymmetric") coordinates = "asymmetric";
  if (method == "aligned") coordinates = "align_corners";
  if (coordinates.empty()) call.fail(fmt::format("method '{}'", printable(method)));
  return upsample(call, {attribute("mode", std::string("linear")),
                         attribute("coordinate_transformation_mode", coordinates)});
}

// By factors or to sizes along every axis, known or computed by the graph.
EvalValue tract_resize(const Call& call) {
  const TensorRef input = call.tensor("input", DType::kF32);
  const auto is_given = [&](std::string_view name) {
    return call.argument(name).kind != EvalValue::Kind::logical;
  };
  if (is_given("scales") == is_given("sizes")) call.fail("expected either scales or sizes");
  const bool by_scales = is_given("scales");
  const TensorRef by = call.tensor(by_scales ? "scales" : "sizes", DType::kF32);
  Shape to = call.shape(input);
  if (call.shape(by) != Shape{static_cast<int64_t>(to.size())}) {
    call.fail(fmt::format("expected {} for {} axes", by_scales ? "scales" : "sizes", to.size()));
  }
  TensorRef wanted = by;
  if (by.constant != nullptr && by.constant->dense() != nullptr) {
    const std::vector<float> numbers = to_f32(*by.constant->dense());
    std::vector<int64_t> sizes;
    for (size_t i = 0; i < to.size(); ++i) {
      const double size =
          by_scales ? std::floor(static_cast<double>(to[i]) * numbers[i]) : numbers[i];
      if (!(numbers[i] > 0) || !(std::abs(size) <= INT32_MAX)) {
        call.fail(fmt::format("{} of axis {}", numbers[i], i));
      }
      to[i] = by_scales && to[i] < 0 ? -1 : static_cast<int64_t>(size);
      sizes.push_back(to[i]);
    }
    if (!by_scales) wanted = call.graph.integers("sizes", sizes);
  } else {
    std::ranges::fill(to, -1);
    if (!by_scales) wanted = as_i64(call, by);
  }
  std::vector<TensorRef> inputs = {input, {}, by_scales ? wanted : TensorRef{}};
  if (!by_scales) inputs.push_back(wanted);
  std::vector<Attribute> attributes = {
      attribute("mode", call.text("interpolator")),
      attribute("coordinate_transformation_mode", call.text("coord_transformer"))};
  if (call.text("interpolator") == "nearest") {
    attributes.push_back(attribute("nearest_mode", call.text("nearest_mode")));
  }
  return EvalValue::of_tensor(
      call.graph.node("Resize", inputs, {call.graph.dtype(input), to}, std::move(attributes)));
}

constexpr std::array kTranslators = {
    Translator{"tract_core_resize", tract_resize, "Resize"},
    Translator{"max_pool", max_pool, "MaxPool Pad"},
    Translator{"box", box, "AveragePool Mul Transpose Unsqueeze Squeeze"},
    Translator{"debox", debox, "ConvTranspose"},
    Translator{"nearest_upsample", nearest_upsample, "Resize"},
    Translator{"multilinear_upsample", multilinear_upsample, "Resize"},
};

}  // namespace

std::span<const Translator> pooling_translators() { return kTranslators; }

}  // namespace espalier::nnef
