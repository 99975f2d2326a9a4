#include "lib/passes/loop_counts.h"

#include "lib/ir/node_kinds.h"

#include <algorithm>
#include <cmath>

namespace espalier {
namespace {

constexpr size_t kDepth = 32;
// From here on a trip count stands for "until the condition ends it".
constexpr int64_t kMostTrips = INT32_MAX;

// Operators that leave a number what it is.
bool keeps_number(const Node& node) {
  return is_default_domain(node) && !node.inputs.empty() &&
         (node.op == "Cast" || node.op == "Identity" || node.op == "Squeeze" ||
          node.op == "Unsqueeze" || node.op == "Reshape");
}

EvenNumber added(const EvenNumber& a, const EvenNumber& b, int64_t sign) {
  return {a.start + sign * b.start, a.per_step + sign * b.per_step,
          a.per_trips + sign * b.per_trips, std::max(a.rank, b.rank)};
}

std::optional<EvenNumber> integer(const Tensor& tensor) {
  if (tensor.count() != 1 || tensor.dtype() == DType::kString) return std::nullopt;
  const double value =
      is_float(tensor.dtype()) ? to_f32(tensor)[0] : static_cast<double>(to_i64(tensor)[0]);
  // Sums of a few of them stay far from the ends of the type.
  if (value != std::floor(value) || std::abs(value) > 0x1p60) return std::nullopt;
  return EvenNumber{static_cast<int64_t>(value), 0, 0, tensor.shape().size()};
}

}  // namespace

std::optional<LoopCounts> LoopCounts::of(const Node& loop, const Graph& body, GraphAround& outer) {
  LoopCounts result(loop, body, outer);
  if (!result.count()) return std::nullopt;
  return result;
}

LoopCounts::LoopCounts(const Node& loop, const Graph& body, GraphAround& outer)
    : loop_(loop), body_(body), outer_(outer), makers_(body.values.size(), nullptr) {
  for (const Node& node : body.nodes) {
    for (const ValueId output : node.outputs)
      if (output != kNoValue) makers_[output] = &node;
  }
}

const Node* LoopCounts::maker(ValueId value) const {
  return value == kNoValue || body_.weights.contains(value) ? nullptr : makers_[value];
}

const EvenNumber* LoopCounts::find(ValueId value) const {
  const auto found = numbers_.find(value);
  return found == numbers_.end() ? nullptr : &found->second;
}

bool LoopCounts::is_forwards(const EvenNumber& number) const {
  return number.start == 0 && number.per_step == 1 && number.per_trips == 0;
}

bool LoopCounts::is_backwards(const EvenNumber& number) const {
  if (number.per_step != -1) return false;
  return trips_ < 0 ? number.per_trips == 1 && number.start == -1
                    : number.per_trips == 0 && number.start == trips_ - 1;
}

std::optional<int64_t> LoopCounts::last(size_t state) const {
  const auto found = counters_.find(state);
  if (found == counters_.end() || trips_ < 0 || found->second.per_trips != 0) return std::nullopt;
  return found->second.start + found->second.per_step * trips_;
}

// A number of the graph around: a constant, the trip count, or a sum of these.
std::optional<EvenNumber> LoopCounts::outer_number(ValueId value, size_t depth) const {
  if (value == kNoValue || depth > kDepth) return std::nullopt;
  if (const auto* constant = outer_.constant(value))
    return constant->weight.is_sparse() ? std::nullopt : integer(constant->weight.dense());
  const std::optional<Shape> shape = outer_.shape(value);
  const size_t rank = shape ? shape->size() : 0;
  if (trips_value_ != kNoValue && outer_.root(value) == trips_value_)
    return EvenNumber{0, 0, 1, rank};
  const Node* node = outer_.maker(value);
  if (node == nullptr) return std::nullopt;
  if (keeps_number(*node)) return outer_number(node->inputs[0], depth + 1);
  if (!is_default_domain(*node) || (node->op != "Add" && node->op != "Sub")) return std::nullopt;
  const auto a = outer_number(node->inputs[0], depth + 1),
             b = outer_number(node->inputs[1], depth + 1);
  if (!a || !b) return std::nullopt;
  return added(*a, *b, node->op == "Add" ? 1 : -1);
}

std::optional<EvenNumber> LoopCounts::number(ValueId value) const {
  if (value == kNoValue) return std::nullopt;
  if (const EvenNumber* found = find(value)) return *found;
  if (const Weight* weight = find_weight(body_, value))
    return weight->is_sparse() ? std::nullopt : integer(weight->dense());
  if (maker(value) != nullptr || std::ranges::count(body_.inputs, value) != 0) return std::nullopt;
  const std::optional<ValueId> outside = outer_.called(body_.values[value].name);
  return outside ? outer_number(*outside, 0) : std::nullopt;
}

// Numbers that nodes make of numbers, by order of the nodes.
void LoopCounts::add_node(const Node& node) {
  if (!is_default_domain(node) || node.outputs.empty() || node.outputs[0] == kNoValue) return;
  if (keeps_number(node)) {
    std::optional<EvenNumber> same = number(node.inputs[0]);
    if (!same) return;
    if (node.op == "Squeeze") same->rank = 0;
    if (node.op == "Unsqueeze") ++same->rank;
    if (node.op == "Reshape") {
      const Weight* shape = node.inputs.size() > 1 ? find_weight(body_, node.inputs[1]) : nullptr;
      if (shape == nullptr || shape->is_sparse()) return;
      same->rank = shape->dense().count();
    }
    numbers_[node.outputs[0]] = *same;
  } else if ((node.op == "Add" || node.op == "Sub") && node.inputs.size() == 2) {
    const auto a = number(node.inputs[0]), b = number(node.inputs[1]);
    if (a && b) numbers_[node.outputs[0]] = added(*a, *b, node.op == "Add" ? 1 : -1);
  }
}

// States that become themselves and a constant.
void LoopCounts::find_counters() {
  const size_t states = loop_.inputs.size() - 2;
  for (size_t i = 0; i < states; ++i) {
    const ValueId state = body_.inputs[2 + i];
    const Node* node = maker(body_.outputs[1 + i]);
    for (size_t depth = 0; node != nullptr && keeps_number(*node) && depth < kDepth; ++depth)
      node = maker(node->inputs[0]);
    const bool sums = node != nullptr && is_default_domain(*node) && node->inputs.size() == 2 &&
                      (node->op == "Add" || node->op == "Sub");
    if (!sums) continue;
    const size_t own = node->inputs[0] == state ? 0 : 1;
    if (node->inputs[own] != state || (own == 1 && node->op == "Sub")) continue;
    const auto step = number(node->inputs[1 - own]), start = outer_number(loop_.inputs[2 + i], 0);
    if (!step || !start || !step->is_constant()) continue;
    EvenNumber counter = *start;
    counter.per_step = node->op == "Add" ? step->start : -step->start;
    counters_[i] = counter;
    numbers_[state] = counter;
  }
}

// Where there is no trip count: the value that the condition compares a counter with.
void LoopCounts::find_trips_value() {
  for (const Node& node : body_.nodes) {
    const bool compares = is_default_domain(node) && (node.op == "Less" || node.op == "Greater");
    if (!compares || node.inputs.size() != 2) continue;
    ValueId value = node.inputs[node.op == "Less" ? 1 : 0];
    for (const Node* made = maker(value); made != nullptr && keeps_number(*made);
         made = maker(value))
      value = made->inputs[0];
    if (value == kNoValue || maker(value) != nullptr || body_.weights.contains(value) ||
        std::ranges::count(body_.inputs, value) != 0)
      continue;
    const std::optional<ValueId> outside = outer_.called(body_.values[value].name);
    if (!outside || outer_.constant(*outside) != nullptr) continue;
    trips_value_ = outer_.root(*outside);
    ends_by_condition_ = true;
    return;
  }
}

// Takes in the trip count, the counters and the condition; false where the body's runs cannot be
// counted.
bool LoopCounts::count() {
  if (loop_.inputs.size() < 2 || body_.inputs.size() != loop_.inputs.size() ||
      body_.outputs.size() < loop_.inputs.size() - 1)
    return false;
  const ValueId count = loop_.inputs[0];
  if (const std::optional<double> constant = outer_.number(count)) {
    if (*constant < 1) return false;
    if (*constant < static_cast<double>(kMostTrips)) trips_ = static_cast<int64_t>(*constant);
  } else if (count != kNoValue) {
    trips_value_ = outer_.root(count);
  }
  if (trips_ < 0 && trips_value_ == kNoValue) find_trips_value();
  const auto& shape = body_.values[body_.inputs[0]].shape;
  numbers_[body_.inputs[0]] = {0, 1, 0, shape ? shape->size() : 0};
  find_counters();
  for (const Node& node : body_.nodes) add_node(node);
  if (!is_true_until_end(body_.outputs[0], 0) || !starts_true(loop_.inputs[1], 0)) return false;
  if (limit_ != INT64_MAX) {
    if (trips_ < 0 && trips_value_ != kNoValue) return false;
    trips_ = trips_ < 0 ? limit_ : std::min(trips_, limit_);
  }
  if (trips_ >= 0) trips_value_ = kNoValue;
  return trips_ >= 1 || (trips_value_ != kNoValue && (!ends_by_condition_ || compared_));
}

// Whether difference < 0 holds in all runs but the last; notes what it limits the runs to.
bool LoopCounts::holds(EvenNumber difference, bool or_equal) {
  if (or_equal) --difference.start;
  if (difference.per_trips == 0) {
    if (difference.per_step > 0) {
      const int64_t first_false =
          difference.start >= 0
              ? 0
              : (-difference.start + difference.per_step - 1) / difference.per_step;
      limit_ = std::min(limit_, first_false + 1);
    } else if (difference.start >= 0) {
      limit_ = 1;
    }
    return true;
  }
  if (difference.per_trips != -1 || difference.per_step != 1) return false;
  compared_ = compared_ || difference.start == 1;
  return ends_by_condition_ ? difference.start == 1 : difference.start <= 1;
}

bool LoopCounts::is_true_until_end(ValueId condition, size_t depth) {
  if (condition == kNoValue || depth > kDepth) return false;
  if (condition == body_.inputs[1]) return true;
  if (const Weight* weight = find_weight(body_, condition)) {
    return !weight->is_sparse() && weight->dense().count() == 1 &&
           weight->dtype() == DType::kBool && to_i64(weight->dense())[0] != 0;
  }
  const Node* node = maker(condition);
  if (node == nullptr) {
    const std::optional<ValueId> outside = outer_.called(body_.values[condition].name);
    return outside && outer_.number(*outside).value_or(0) != 0;
  }
  if (keeps_number(*node)) return is_true_until_end(node->inputs[0], depth + 1);
  if (!is_default_domain(*node) || node->inputs.size() != 2) return false;
  if (node->op == "And")
    return is_true_until_end(node->inputs[0], depth + 1) &&
           is_true_until_end(node->inputs[1], depth + 1);
  const bool less = node->op == "Less" || node->op == "LessOrEqual";
  if (!less && node->op != "Greater" && node->op != "GreaterOrEqual") return false;
  const auto a = number(node->inputs[less ? 0 : 1]), b = number(node->inputs[less ? 1 : 0]);
  return a && b && holds(added(*a, *b, -1), node->op.ends_with("OrEqual"));
}

// The condition before the first run: true where the body runs at all.
bool LoopCounts::starts_true(ValueId condition, size_t depth) const {
  if (condition == kNoValue) return true;
  if (depth > kDepth) return false;
  if (const std::optional<double> value = outer_.number(condition)) return *value != 0;
  const Node* node = outer_.maker(condition);
  if (node == nullptr) return false;
  if (keeps_number(*node)) return starts_true(node->inputs[0], depth + 1);
  if (!is_default_domain(*node) || node->inputs.size() != 2) return false;
  if (node->op == "And")
    return starts_true(node->inputs[0], depth + 1) && starts_true(node->inputs[1], depth + 1);
  if (node->op != "Less" && node->op != "Greater") return false;
  const bool less = node->op == "Less";
  const auto a = outer_number(node->inputs[less ? 0 : 1], 0),
             b = outer_number(node->inputs[less ? 1 : 0], 0);
  if (!a || !b) return false;
  const EvenNumber difference = added(*a, *b, -1);
  return difference.per_trips == 0 ? difference.start < 0
                                   : difference.per_trips == -1 && difference.start <= 0;
}

}  // namespace espalier
