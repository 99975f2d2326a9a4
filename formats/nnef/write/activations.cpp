// Activations that NNEF or stock tract have under no name, or under one that does less, by formula.
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

// Output 0 = `format` with the input for {0} and `values` as literals after it.
template <typename... Values>
void set_formula(NodeWriter& n, fmt::string_view format, Values... values) {
  const Wire x = n.wire(0);
  n.set(fmt::format(fmt::runtime(format), x.id, literal(values)...), x.extents, x.dtype);
}

float alpha_of(NodeWriter& n, float fallback) { return float_attribute(n.node, "alpha", fallback); }

// The axes that softmax runs over; all from `axis` on before opset 13.
std::vector<int64_t> softmax_axes(NodeWriter& n, size_t rank) {
  const bool flattens = n.opset() < 13;
  const int64_t axis = n.axis(int_attribute(n.node, "axis", flattens ? 1 : -1), rank);
  std::vector<int64_t> axes{axis};
  for (int64_t i = axis + 1; flattens && i < static_cast<int64_t>(rank); ++i) axes.push_back(i);
  return axes;
}

}  // namespace

void spell_celu(NodeWriter& n) {
  const float alpha = alpha_of(n, 1.0F);
  set_formula(n, "add(max({0}, 0.0), min(mul(sub(exp(div({0}, {1})), 1.0), {1}), 0.0))", alpha);
}

// tract's elu has no alpha.
void spell_elu(NodeWriter& n) {
  const float alpha = alpha_of(n, 1.0F);
  if (alpha == 1.0F) return set_formula(n, "elu({0})");
  set_formula(n, "select(lt({0}, 0.0), mul(sub(exp({0}), 1.0), {1}), {0})", alpha);
}

void spell_gelu(NodeWriter& n) {
  const std::string kind = string_attribute(n.node, "approximate", "none");
  if (kind == "none") {
    return set_formula(n, "mul(mul({0}, 0.5), add(tract_core_erf(mul({0}, {1})), 1.0))",
                       std::numbers::sqrt2_v<float> / 2);
  }
  if (kind != "tanh") n.fail(fmt::format("approximate '{}' is not supported", printable(kind)));
  set_formula(n,
              "mul(mul({0}, 0.5), add(tanh(mul(add(mul(mul(mul({0}, {0}), {0}), 0.044715), {0}), "
              "{1})), 1.0))",
              std::sqrt(2.0F / std::numbers::pi_v<float>));
}

void spell_hard_sigmoid(NodeWriter& n) {
  set_formula(n, "clamp(add(mul({0}, {1}), {2}), 0.0, 1.0)", alpha_of(n, 0.2F),
              float_attribute(n.node, "beta", 0.5F));
}

void spell_leaky_relu(NodeWriter& n) {
  set_formula(n, "leaky_relu({0}, alpha = {1})", alpha_of(n, 0.01F));
}

void spell_log_softmax(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const std::string axes = list(softmax_axes(n, x.extents->size()));
  const Wire shifted =
      n.step("shifted", fmt::format("sub({0}, max_reduce({0}, axes = {1}))", x.id, axes), x.extents,
             x.dtype);
  n.set(fmt::format("sub({0}, log(sum_reduce(exp({0}), axes = {1})))", shifted.id, axes), x.extents,
        x.dtype);
}

void spell_mish(NodeWriter& n) { set_formula(n, "mul({0}, tanh(softplus({0})))"); }

void spell_selu(NodeWriter& n) {
  set_formula(n, "mul(select(gt({0}, 0.0), {0}, mul(sub(exp({0}), 1.0), {1})), {2})",
              alpha_of(n, 1.67326319217681884765625F),
              float_attribute(n.node, "gamma", 1.05070102214813232421875F));
}

void spell_softmax(NodeWriter& n) {
  const Wire x = n.ranked(0);
  n.set(fmt::format("softmax({}, axes = {})", x.id, list(softmax_axes(n, x.extents->size()))),
        x.extents, x.dtype);
}

void spell_softsign(NodeWriter& n) { set_formula(n, "div({0}, add(abs({0}), 1.0))"); }

void spell_swish(NodeWriter& n) {
  const float alpha = alpha_of(n, 1.0F);
  if (alpha == 1.0F) return set_formula(n, "mul({0}, sigmoid({0}))");
  set_formula(n, "mul({0}, sigmoid(mul({0}, {1})))", alpha);
}

void spell_thresholded_relu(NodeWriter& n) {
  set_formula(n, "select(gt({0}, {1}), {0}, 0.0)", alpha_of(n, 1.0F));
}

}  // namespace espalier::nnef
