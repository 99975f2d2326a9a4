// What operators of onnxruntime's optimizer stand for: docs of com.microsoft in onnxruntime 1.32,
// docs/ContribOperators.md there.
#include "lib/ops/composites.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "lib/base/error.h"
#include "lib/ops/expansion.h"
#include "lib/ops/fold.h"
#include "lib/ops/rotary_embedding.h"

namespace espalier {

extern const Operator microsoft_matmul_operator;

namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

Attribute number_attribute(const char* name, float value) { return {name, value, {}}; }

// The node's attributes but for those of an activation.
std::vector<Attribute> plain_attributes(const Node& node) {
  std::vector<Attribute> result = node.attributes;
  std::erase_if(result, [](const Attribute& a) { return a.name.starts_with("activation"); });
  return result;
}

ValueId clip(Expansion& e, ValueId x, float low, float high) {
  constexpr int64_t kOpsetWithInputs = 11;
  if (e.opset >= kOpsetWithInputs) return e.make("Clip", {x, e.number(low), e.number(high)});
  return e.make("Clip", {x}, {number_attribute("min", low), number_attribute("max", high)});
}

// The activation by its name and numbers, in the order alpha, beta.
ValueId activated(Expansion& e, ValueId x, const std::vector<float>& numbers) {
  constexpr auto kPlain =
      std::to_array<std::string_view>({"Relu", "Tanh", "Sigmoid", "Softplus", "Softsign", "Selu",
                                       "Elu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu"});
  const std::string name = string_attribute(e.node, "activation", "");
  if (name.empty()) return x;
  if (name == "Clip") {
    if (numbers.size() != 2) refuse("activation Clip requires two numbers");
    return clip(e, x, numbers[0], numbers[1]);
  }
  if (std::ranges::find(kPlain, name) == kPlain.end())
    refuse(fmt::format("activation {} is not supported", printable(name)));
  std::vector<Attribute> attributes;
  if (!numbers.empty()) attributes.push_back(number_attribute("alpha", numbers[0]));
  if (numbers.size() > 1) attributes.push_back(number_attribute("beta", numbers[1]));
  return e.make(name, {x}, std::move(attributes));
}

// Conv(X, W, B) + Z, activated.
void expand_fused_conv(Expansion& e) {
  std::vector<ValueId> inputs = e.node.inputs;
  if (inputs.size() > 3) inputs.resize(3);
  ValueId y = e.make("Conv", inputs, plain_attributes(e.node));
  if (e.has(3)) y = e.make("Add", {y, e.input(3)});
  e.give(0, activated(e, y, floats_attribute(e.node, "activation_params", {})));
}

void expand_fused_gemm(Expansion& e) {
  std::vector<float> numbers;
  for (const char* name : {"activation_alpha", "activation_beta"}) {
    if (find_attribute(e.node, name) != nullptr)
      numbers.push_back(float_attribute(e.node, name, 0));
  }
  e.give(0, activated(e, e.make("Gemm", e.node.inputs, plain_attributes(e.node)), numbers));
}

ValueId biased(Expansion& e, size_t x, size_t bias) {
  return e.has(bias) ? e.make("Add", {e.input(x), e.input(bias)}) : e.input(x);
}

void expand_gelu(Expansion& e) { e.give(0, e.make("Gelu", {e.input(0)})); }
void expand_bias_gelu(Expansion& e) { e.give(0, e.make("Gelu", {biased(e, 0, 1)})); }
void expand_fast_gelu(Expansion& e) {
  e.give(0, e.make("Gelu", {biased(e, 0, 1)}, {{"approximate", std::string("tanh"), {}}}));
}
void expand_quick_gelu(Expansion& e) {
  const float alpha = float_attribute(e.node, "alpha", 1.702F);
  const ValueId share = e.make("Sigmoid", {e.make("Mul", {e.input(0), e.number(alpha)})});
  e.give(0, e.make("Mul", {e.input(0), share}));
}

// Input and skip, and the bias of both.
ValueId skip_sum(Expansion& e, size_t bias) {
  const ValueId sum = e.make("Add", {e.input(0), e.input(1)});
  return e.has(bias) ? e.make("Add", {sum, e.input(bias)}) : sum;
}

void expand_skip_layer_normalization(Expansion& e) {
  constexpr float kEpsilon = 1e-12F;
  ValueId sum = skip_sum(e, 4);
  e.give(3, sum);
  if (e.wants(3)) sum = e.node.outputs[3];
  std::vector<ValueId> inputs{sum, e.input(2)};
  if (e.has(3)) inputs.push_back(e.input(3));
  e.give(0, e.make("LayerNormalization", inputs,
                   {{"axis", int64_t{-1}, {}},
                    number_attribute("epsilon", float_attribute(e.node, "epsilon", kEpsilon))}));
  e.give_also(1, 1);
  e.give_also(2, 2);
}

void root_mean_square(Expansion& e, ValueId x, ValueId scale, int64_t axis, float epsilon) {
  if (e.wants(1) || e.wants(2)) refuse("statistics as outputs are not supported");
  e.give(0, e.make("RMSNormalization", {x, scale},
                   {{"axis", axis, {}},
                    number_attribute("epsilon", float_attribute(e.node, "epsilon", epsilon))}));
}
void expand_simplified(Expansion& e) {
  root_mean_square(e, e.input(0), e.input(1), int_attribute(e.node, "axis", -1), 1e-5F);
}
void expand_skip_simplified(Expansion& e) {
  ValueId sum = skip_sum(e, 3);
  e.give(3, sum);
  if (e.wants(3)) sum = e.node.outputs[3];
  root_mean_square(e, sum, e.input(2), -1, 1e-12F);
}

// Attention of heads: q, k and v are [batch, length, heads * size].
struct Heads {
  ValueId q, k, v;
  int64_t heads;
  std::optional<int64_t> size;  // of q and k, where it is known
  size_t mask, bias;            // inputs of the node
};

// [batch, heads, length, size]; another rank than 3 is an error of Transpose when it runs.
ValueId split_heads(Expansion& e, ValueId x, int64_t heads) {
  const ValueId checked = e.make("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 1, 2}, {}}});
  const ValueId apart = e.make("Reshape", {checked, e.integers({0, 0, heads, -1})});
  return e.make("Transpose", {apart}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}, {}}});
}

// q k^T, divided by the root of the head's size.
ValueId scores(Expansion& e, const Heads& h) {
  const ValueId q = split_heads(e, h.q, h.heads);
  const ValueId k = e.make("Transpose", {split_heads(e, h.k, h.heads)},
                           {{"perm", std::vector<int64_t>{0, 1, 3, 2}, {}}});
  const float scale = float_attribute(e.node, "scale", 0);
  const ValueId product = e.make("MatMul", {q, k});
  if (scale != 0) return e.make("Mul", {product, e.number(scale)});
  if (!h.size || *h.size < 1)
    refuse("the size of its heads is not known: no scale, no constant bias");
  return e.make("Mul", {product, e.number(1 / std::sqrt(static_cast<float>(*h.size)))});
}

// 0 where the mask [batch, keys] is above 0, else the filter value.
ValueId padding(Expansion& e, size_t input) {
  if (const auto shape = e.shape(input); shape && shape->size() != 2)
    refuse(
        fmt::format("a mask of {} axes is not supported, expected [batch, keys]", shape->size()));
  constexpr float kFilter = -10000;
  const ValueId mask =
      e.make("Transpose", {e.input(input)}, {{"perm", std::vector<int64_t>{0, 1}, {}}});
  const ValueId wide = e.make("Reshape", {mask, e.integers({0, 1, 1, -1})});
  const ValueId kept = e.make("Cast", {wide}, {{"to", int64_t{9}, {}}});  // bool
  return e.make("Where", {kept, e.number(0),
                          e.number(float_attribute(e.node, "mask_filter_value", kFilter))});
}

// Zeros where a key is not later than the query, else a number that leaves it no share.
ValueId later_keys(Expansion& e, ValueId scores) {
  constexpr float kNever = -1e30F;
  const ValueId nothing = e.make("Mul", {scores, e.number(0)});
  const ValueId all = e.make("Add", {nothing, e.number(kNever)});
  return e.make("Trilu", {all, e.integers_0d(1)}, {{"upper", int64_t{1}, {}}});
}

// [batch, length, heads * size] again.
ValueId joined_heads(Expansion& e, ValueId x) {
  const ValueId back = e.make("Transpose", {x}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}, {}}});
  return e.make("Reshape", {back, e.integers({0, 0, -1})});
}

void attend(Expansion& e, const Heads& h) {
  if (h.heads < 1) refuse("num_heads is missing");
  ValueId s = scores(e, h);
  if (e.has(h.mask)) s = e.make("Add", {s, padding(e, h.mask)});
  if (e.has(h.bias)) s = e.make("Add", {s, e.input(h.bias)});
  if (int_attribute(e.node, "unidirectional", 0) != 0) s = e.make("Add", {s, later_keys(e, s)});
  const ValueId share = e.make("Softmax", {s}, {{"axis", int64_t{3}, {}}});
  const ValueId mixed = e.make("MatMul", {share, split_heads(e, h.v, h.heads)});
  e.give(0, joined_heads(e, mixed));
}

void refuse_cache(const Expansion& e, std::initializer_list<size_t> inputs) {
  for (const size_t input : inputs) {
    if (e.has(input)) refuse("past keys and values are not supported");
  }
  for (size_t output = 1; output < e.node.outputs.size(); ++output) {
    if (e.wants(output)) refuse("keys and values as outputs are not supported");
  }
}

ValueId slice(Expansion& e, ValueId x, int64_t begin, int64_t end, int64_t axis) {
  return e.make("Slice", {x, e.integers({begin}), e.integers({end}), e.integers({axis})});
}

// One product makes q, k and v.
void expand_attention(Expansion& e) {
  refuse_cache(e, {4, 6});
  if (int_attribute(e.node, "do_rotary", 0) != 0) refuse("do_rotary is not supported");
  const auto weight = e.shape(1);
  if (!weight || weight->size() != 2 || (*weight)[1] < 0)
    refuse("the extents of its weight are not known");
  std::vector<int64_t> sizes = ints_attribute(e.node, "qkv_hidden_sizes", {});
  if (sizes.empty()) sizes.assign(3, (*weight)[1] / 3);
  const auto fits = [&](int64_t size) { return size >= 0 && size <= (*weight)[1]; };
  if (sizes.size() != 3 || !std::ranges::all_of(sizes, fits))
    refuse("qkv_hidden_sizes are not three parts of its weight");
  ValueId all = e.make("MatMul", {e.input(0), e.input(1)});
  if (e.has(2)) all = e.make("Add", {all, e.input(2)});
  const int64_t q = sizes[0], k = q + sizes[1], v = k + sizes[2];
  const int64_t heads = int_attribute(e.node, "num_heads", 0);
  attend(e, {slice(e, all, 0, q, 2), slice(e, all, q, k, 2), slice(e, all, k, v, 2), heads,
             heads > 0 ? std::optional(q / heads) : std::nullopt, 3, 5});
}

void expand_multi_head_attention(Expansion& e) {
  refuse_cache(e, {6, 7, 8, 9});
  const int64_t heads = int_attribute(e.node, "num_heads", 0);
  ValueId qkv[3] = {e.input(0), e.input(1), e.input(2)};
  std::optional<int64_t> hidden;
  if (const auto query = e.shape(0); query && query->size() == 3 && query->back() > 0)
    hidden = query->back();
  if (e.has(3)) {
    const auto bias = e.shape(3);
    if (!bias || bias->size() != 1 || bias->front() < 0)
      refuse("the extent of its bias is not known");
    if (!hidden) hidden = bias->front() / 3;
    if (*hidden > bias->front() / 2) refuse("the extents of its query and bias do not fit");
    const int64_t ends[4] = {0, *hidden, 2 * *hidden, bias->front()};
    for (size_t i = 0; i < 3; ++i)
      qkv[i] = e.make("Add", {qkv[i], slice(e, e.input(3), ends[i], ends[i + 1], 0)});
  }
  attend(e, {qkv[0], qkv[1], qkv[2], heads,
             hidden && heads > 0 ? std::optional(*hidden / heads) : std::nullopt, 4, 5});
}

// ONNX's own, as far as its extents are known: without a cache, with as many heads of k as of q. What
// it does besides, ONNX defines by a function.
bool is_plain_attention(const Expansion& e) {
  const Node& node = e.node;
  for (size_t output = 1; output < node.outputs.size(); ++output) {
    if (e.wants(output)) return false;
  }
  for (size_t input = 4; input < node.inputs.size(); ++input) {
    if (e.has(input)) return false;
  }
  const auto q = e.shape(0), k = e.shape(1), v = e.shape(2);
  if (!q || !k || !v || q->size() != k->size() || k->size() != v->size()) return false;
  if (q->size() != 3 && q->size() != 4) return false;
  if (float_attribute(node, "softcap", 0) != 0 || q->back() < 1) return false;
  if (find_attribute(node, "softmax_precision") != nullptr || e.declared(0) != DType::kF32)
    return false;
  if (q->size() == 3) {
    const int64_t heads = int_attribute(node, "q_num_heads", 0);
    if (heads < 1 || q->back() % heads != 0 || heads != int_attribute(node, "kv_num_heads", 0))
      return false;
  } else if (q->size() != 4 || (*q)[1] < 1 || (*q)[1] != (*k)[1] || (*q)[1] != (*v)[1]) {
    return false;
  }
  if (!e.has(3)) return true;
  const auto mask = e.shape(3);
  const int64_t keys = (*k)[k->size() - 2];
  return mask && !mask->empty() && keys > 0 && mask->back() == keys &&
         (e.declared(3) == DType::kBool || e.declared(3) == DType::kF32);
}

void expand_onnx_attention(Expansion& e) {
  const Shape shape = *e.shape(0);
  const bool joined = shape.size() == 3;
  const int64_t heads = joined ? int_attribute(e.node, "q_num_heads", 0) : shape[1];
  const auto size = static_cast<float>(joined ? shape.back() / heads : shape.back());
  const auto apart = [&](size_t i) {
    return joined ? split_heads(e, e.input(i), heads) : e.input(i);
  };
  const ValueId k =
      e.make("Transpose", {apart(1)}, {{"perm", std::vector<int64_t>{0, 1, 3, 2}, {}}});
  const float scale = float_attribute(e.node, "scale", 1 / std::sqrt(size));
  ValueId s = e.make("Mul", {e.make("MatMul", {apart(0), k}), e.number(scale)});
  if (int_attribute(e.node, "is_causal", 0) != 0) s = e.make("Add", {s, later_keys(e, s)});
  if (e.has(3) && e.declared(3) == DType::kBool) {
    const float never = -std::numeric_limits<float>::infinity();
    s = e.make("Add", {s, e.make("Where", {e.input(3), e.number(0), e.number(never)})});
  } else if (e.has(3)) {
    s = e.make("Add", {s, e.input(3)});
  }
  const ValueId y =
      e.make("MatMul", {e.make("Softmax", {s}, {{"axis", int64_t{3}, {}}}), apart(2)});
  e.give(0, joined ? joined_heads(e, y) : y);
}

std::optional<Fold> fold_attention(const Node& node, size_t input, const Shape& shape) {
  return input == 1 && shape.size() == 2 ? fold_matmul(node, input, shape) : std::nullopt;
}

bool weight_is_packed(const Node&, size_t input) { return input == 1; }

Run never(const PrepareContext&) { refuse("is run as the operators that it stands for"); }

ValueId exchanged(Expansion& e, size_t input, const char* attribute) {
  if (int_attribute(e.node, attribute, 0) == 0) return e.input(input);
  const auto shape = e.shape(input);
  if (!shape) refuse(fmt::format("{}: the rank of input {} is not known", attribute, input));
  std::vector<int64_t> axes(shape->size());
  std::iota(axes.begin(), axes.end(), 0);
  if (axes.size() > 1) std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
  return e.make("Transpose", {e.input(input)}, {{"perm", axes, {}}});
}

void expand_fused_matmul(Expansion& e) {
  for (const char* name : {"transBatchA", "transBatchB"}) {
    if (int_attribute(e.node, name, 0) != 0) refuse(fmt::format("{} is not supported", name));
  }
  const ValueId a = exchanged(e, 0, "transA"), b = exchanged(e, 1, "transB");
  const ValueId y = e.make("MatMul", {a, b});
  e.give(0, e.make("Mul", {y, e.number(float_attribute(e.node, "alpha", 1))}));
}

struct Composite {
  std::string_view name, domain;
  void (*expand)(Expansion& expansion);
  std::optional<Fold> (*fold)(const Node& node, size_t input, const Shape& shape) = nullptr;
  /// Which nodes are expanded here; null: all, so that the operator counts as known.
  bool (*only)(const Expansion& expansion) = nullptr;
  /// How the runtime runs it without expansion.
  const Operator* own = nullptr;
};

constexpr auto kComposites = std::to_array<Composite>({
    {"Attention", "", expand_onnx_attention, nullptr, is_plain_attention},
    {"Attention", kMicrosoft, expand_attention, fold_attention},
    {"BiasGelu", kMicrosoft, expand_bias_gelu},
    {"FastGelu", kMicrosoft, expand_fast_gelu},
    {"FusedConv", kMicrosoft, expand_fused_conv, fold_conv},
    {"FusedGemm", kMicrosoft, expand_fused_gemm, fold_gemm},
    {"FusedMatMul", kMicrosoft, expand_fused_matmul, nullptr, nullptr, &microsoft_matmul_operator},
    {"Gelu", kMicrosoft, expand_gelu},
    {"MultiHeadAttention", kMicrosoft, expand_multi_head_attention},
    {"QuickGelu", kMicrosoft, expand_quick_gelu},
    {"RotaryEmbedding", "", expand_rotary_embedding, nullptr, is_plain_rotary_embedding},
    {"SimplifiedLayerNormalization", "", expand_simplified},
    {"SkipLayerNormalization", kMicrosoft, expand_skip_layer_normalization},
    {"SkipSimplifiedLayerNormalization", kMicrosoft, expand_skip_simplified},
});

const Composite* find_composite(const Node& node) {
  const std::string_view domain = node.domain == "ai.onnx" ? "" : std::string_view(node.domain);
  const auto* found = std::ranges::find_if(
      kComposites, [&](const Composite& c) { return c.name == node.op && c.domain == domain; });
  return found == kComposites.end() ? nullptr : found;
}

void expand_nodes(Graph& graph, int64_t opset, Expand what, Names& names) {
  std::vector<Node> nodes;
  const std::vector<Node> given = std::move(graph.nodes);
  for (size_t i = 0; i < given.size(); ++i) {
    const Composite* composite = find_composite(given[i]);
    Expansion expansion(graph, given[i], opset, names);
    const bool own = composite != nullptr && composite->own != nullptr && what == Expand::kForRun;
    if (composite == nullptr || own ||
        (composite->only != nullptr && !composite->only(expansion))) {
      nodes.push_back(given[i]);
      continue;
    }
    try {
      composite->expand(expansion);
    } catch (Error& error) {
      error.add_context(fmt::format("{} (node '{}')", printable(full_op_name(given[i])),
                                    printable(path_step(given[i], i))));
      throw;
    }
    std::ranges::move(expansion.take(), std::back_inserter(nodes));
  }
  graph.nodes = std::move(nodes);
}

}  // namespace

std::span<const Operator> composite_operators() {
  static const std::vector<Operator> kOperators = [] {
    std::vector<Operator> result;
    for (const Composite& one : kComposites) {
      if (one.only != nullptr) continue;
      if (one.own != nullptr) {
        result.push_back(*one.own);
        continue;
      }
      Operator& made = result.emplace_back();
      made.name = one.name;
      made.fold = one.fold;
      made.takes_packed = one.fold == nullptr ? nullptr : weight_is_packed;
      made.prepare = never;
      made.domain = one.domain;
    }
    return result;
  }();
  return kOperators;
}

bool has_composites(const Graph& graph) {
  bool found = false;
  for_each_graph(graph, [&](const Graph& one, const std::string&) {
    found = found || std::ranges::any_of(one.nodes, [](const Node& node) {
              return find_composite(node) != nullptr;
            });
  });
  return found;
}

Graph with_composites_expanded(Graph graph, int64_t opset, Expand what) {
  if (!has_composites(graph)) return graph;
  Names names;
  for_each_graph(graph, [&](const Graph& one, const std::string&) {
    for (const Value& value : one.values) names.insert(value.name);
  });
  return transformed(std::move(graph), [&](Graph& one, const std::string&) {
    expand_nodes(one, opset, what, names);
  });
}

}  // namespace espalier
