// Normalizations; those that NNEF has under no name by formula.
#include <fmt/format.h>

#include <numeric>

#include "formats/nnef/write/operators.h"

namespace espalier::nnef {
namespace {

// x - mean(x), and the mean of its squares.
struct Moments {
  Wire centered;
  std::string variance;
};

Moments moments(NodeWriter& n, const Wire& x, const std::vector<int64_t>& axes) {
  const std::string over = list(axes);
  const Wire centered =
      n.step("centered", fmt::format("sub({0}, mean_reduce({0}, axes = {1}))", x.id, over),
             x.extents, x.dtype);
  return {centered, fmt::format("mean_reduce(mul({0}, {0}), axes = {1})", centered.id, over)};
}

std::string normalized(const Moments& parts, float epsilon) {
  return fmt::format("div({}, sqrt(add({}, {})))", parts.centered.id, parts.variance,
                     literal(epsilon));
}

std::vector<int64_t> axes_from(int64_t first, size_t rank) {
  std::vector<int64_t> axes(rank - static_cast<size_t>(first));
  std::iota(axes.begin(), axes.end(), first);
  return axes;
}

void want_one_output(NodeWriter& n) {
  for (size_t output = 1; output < n.node.outputs.size(); ++output) {
    if (n.wants(output)) n.fail("outputs other than the first are not supported");
  }
}

}  // namespace

void spell_batch_normalization(NodeWriter& n) {
  if (int_attribute(n.node, "training_mode", 0) != 0) n.fail("training_mode is not supported");
  want_one_output(n);
  const Wire x = n.wire(0);
  const auto channels = [&](size_t input) { return n.raised(n.ranked(input), 2).id; };
  const std::string scale = channels(1), offset = channels(2), mean = channels(3),
                    variance = channels(4);
  n.set(fmt::format("batch_normalization({}, {}, {}, {}, {}, epsilon = {})", x.id, mean, variance,
                    offset, scale, literal(float_attribute(n.node, "epsilon", 1e-5F))),
        x.extents, x.dtype);
}

void spell_instance_normalization(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  if (rank < 3) n.fail("the input must be [N, C, spatial...]");
  const std::string scale = n.raised(n.ranked(1), 2).id, offset = n.raised(n.ranked(2), 2).id;
  const std::string text =
      normalized(moments(n, x, axes_from(2, rank)), float_attribute(n.node, "epsilon", 1e-5F));
  n.set(fmt::format("add(mul({}, {}), {})", text, scale, offset), x.extents, x.dtype);
}

void spell_layer_normalization(NodeWriter& n) {
  want_one_output(n);
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  const int64_t axis = n.axis(int_attribute(n.node, "axis", -1), rank);
  std::string text =
      normalized(moments(n, x, axes_from(axis, rank)), float_attribute(n.node, "epsilon", 1e-5F));
  text = fmt::format("mul({}, {})", text, n.raised(n.ranked(1), rank).id);
  if (n.has(2)) text = fmt::format("add({}, {})", text, n.raised(n.ranked(2), rank).id);
  n.set(text, x.extents, x.dtype);
}

// local_response_normalization of stock tract leaves the channels out of the window, so the window
// over channels is a sum of slices.
void spell_local_response_normalization(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const size_t rank = x.extents->size();
  const int64_t size = int_attribute(n.node, "size", 0);
  constexpr int64_t kMaxSize = 64;
  if (size < 1 || size > kMaxSize) n.fail(fmt::format("size {} is not supported", size));
  const auto channels = rank < 2 ? std::nullopt : (*x.extents)[1].constant();
  if (!channels) n.fail("the number of channels must be known: bind it (--input-shape)");
  std::vector<std::string> padding(rank, "(0, 0)");
  padding[1] = fmt::format("({}, {})", (size - 1) / 2, size / 2);
  Extents extents = *x.extents;
  extents[1] = Dim(*channels + size - 1);
  const Wire squares =
      n.step("squares",
             fmt::format("pad(mul({0}, {0}), padding = [{1}], border = 'constant', value = 0.0)",
                         x.id, fmt::join(padding, ", ")),
             extents, x.dtype);
  std::string sum;
  for (int64_t i = 0; i < size; ++i) {
    const std::string part =
        n.text.slice(squares, 1, i, i + *channels, n.fresh(fmt::format("part{}", i))).id;
    sum = sum.empty() ? part : fmt::format("add({}, {})", sum, part);
  }
  const float alpha = float_attribute(n.node, "alpha", 1e-4F);
  n.set(fmt::format("div({}, pow(add(mul({}, {}), {}), {}))", x.id, sum,
                    literal(alpha / static_cast<float>(size)),
                    literal(float_attribute(n.node, "bias", 1.0F)),
                    literal(float_attribute(n.node, "beta", 0.75F))),
        x.extents, x.dtype);
}

// Where all elements are 0, so is the result.
void spell_lp_normalization(NodeWriter& n) {
  const Wire x = n.ranked(0);
  const int64_t p = int_attribute(n.node, "p", 2);
  if (p != 1 && p != 2) n.fail(fmt::format("p {} is not supported", p));
  const int64_t axis = n.axis(int_attribute(n.node, "axis", -1), x.extents->size());
  n.set(
      fmt::format("l{}_normalization({}, axes = [{}], bias = 0.0, epsilon = 1e-30)", p, x.id, axis),
      x.extents, x.dtype);
}

void spell_mean_variance_normalization(NodeWriter& n) {
  const Wire x = n.ranked(0);
  std::vector<int64_t> axes = ints_attribute(n.node, "axes", {0, 2, 3});
  for (int64_t& axis : axes) axis = n.axis(axis, x.extents->size());
  const Moments parts = moments(n, x, axes);
  n.set(fmt::format("div({}, add(sqrt({}), 1e-9))", parts.centered.id, parts.variance), x.extents,
        x.dtype);
}

}  // namespace espalier::nnef
