#include "lib/passes/loop_step.h"

#include <algorithm>
#include <set>

#include "lib/ir/node_kinds.h"
#include "lib/passes/loop_counts.h"

namespace espalier {
namespace {

constexpr size_t kDepth = 32;

class Reader {
 public:
  Reader(const Node& node, const Graph& body, GraphAround& around)
      : node_(node), body_(body), around_(around), makers_(body.values.size(), nullptr) {
    step_.body = &body;
    for (const Node& one : body.nodes) {
      for (const ValueId output : one.outputs)
        if (output != kNoValue) makers_[output] = &one;
    }
  }

  std::optional<LoopStep> loop();
  std::optional<LoopStep> scan();

 private:
  ValueId bare(ValueId value) const;
  bool add_states(size_t first_input, size_t first_output, size_t count);
  bool add_state(size_t state, ValueId input, ValueId next, ValueId given);
  void add_constants();
  void add_constant(ValueId value, ValueId outside);
  void find_sequences();
  std::optional<EvenNumber> picked(const Node& pick, size_t& axis) const;
  bool add_sequence(ValueId step, ValueId data, size_t axis, bool keeps_axis, bool backwards);
  bool add_outputs(size_t states);
  std::optional<LoopStep> result();

  const Node& node_;
  const Graph& body_;
  GraphAround& around_;
  LoopStep step_;
  std::optional<LoopCounts> counts_;
  std::vector<const Node*> makers_;
  std::map<ValueId, ValueId> given_;  // values of the body that are the same in all runs
  std::map<size_t, size_t> vectors_;  // state of the node -> state of the step
};

// The value without Identity nodes that hand it on.
ValueId Reader::bare(ValueId value) const {
  for (size_t depth = 0; depth < kDepth && value != kNoValue; ++depth) {
    const Node* maker = makers_[value];
    if (maker == nullptr || maker->op != "Identity" || !is_default_domain(*maker)) break;
    value = maker->inputs[0];
  }
  return value;
}

// Sorts the states: passed on as they are, counted, or vectors.
bool Reader::add_states(size_t first_input, size_t first_output, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const ValueId input = body_.inputs[first_input + i], next = body_.outputs[first_output + i];
    const ValueId given = node_.inputs[first_input + i];
    if (given == kNoValue) return false;
    if (bare(next) == input) {
      given_[input] = given;
    } else if (!counts_ || !counts_->is_counter(i)) {
      if (!add_state(i, input, next, given)) return false;
    }
  }
  return !step_.states.empty();
}

// A vector [N, H] with extents of 1 besides. What is not declared is told by the first product.
bool Reader::add_state(size_t state, ValueId input, ValueId next, ValueId given) {
  std::optional<Shape> shape = around_.shape(given);
  const auto& declared = body_.values[input].shape;
  if (!shape || shape->empty()) shape = declared;
  if (!shape) shape = body_.values[next].shape;
  if (!shape || shape->size() < 2 || shape->size() > 3 || step_.states.size() == 2) return false;
  const size_t rank = shape->size();
  StepInput vector{input, shape->back(), rank, 2};
  if (vector.width < 0 && declared && declared->size() == rank) vector.width = declared->back();
  if (rank == 3 && (*shape)[0] != 1) {
    if ((*shape)[1] != 1) return false;
    vector.batch = 3;
  }
  vectors_[state] = step_.states.size();
  step_.states.push_back({step_.inputs.size(), next});
  step_.inputs.push_back(vector);
  step_.initial.push_back(given);
  return true;
}

// Constants of the body and of the graphs around that nodes of the body read.
void Reader::add_constants() {
  for (const auto& [value, weight] : body_.weights) {
    StepConstant constant{value, {}, weight.shape(), {}};
    if (!weight.is_sparse()) constant.dense = weight.dense();
    std::vector<std::pair<std::string, size_t>> sources;
    if (is_float(weight.dtype()))
      sources = {{body_.values[value].name, byte_count(weight.dtype(), weight.shape())}};
    step_.constants.push_back(std::move(constant));
    step_.sources.push_back(std::move(sources));
  }
  for (const auto& [value, outside] : given_) add_constant(value, outside);
  std::set<ValueId> seen;
  for (const Node& node : body_.nodes) {
    for (const ValueId input : node.inputs) {
      const bool own = input == kNoValue || makers_[input] != nullptr ||
                       body_.weights.contains(input) ||
                       std::ranges::count(body_.inputs, input) != 0;
      if (own || !seen.insert(input).second) continue;
      const std::optional<ValueId> outside = around_.called(body_.values[input].name);
      if (!outside) continue;
      given_[input] = *outside;
      add_constant(input, *outside);
    }
  }
}

void Reader::add_constant(ValueId value, ValueId outside) {
  const GraphAround::Constant* found = around_.constant(outside);
  if (found == nullptr) return;
  StepConstant constant{value, {}, found->weight.shape(), {}};
  if (!found->weight.is_sparse()) constant.dense = found->weight.dense();
  step_.constants.push_back(std::move(constant));
  step_.sources.push_back(found->sources);
}

// Where a node takes one step of its first input: the number of that step, with its rank as an
// index, and the axis.
std::optional<EvenNumber> Reader::picked(const Node& pick, size_t& axis) const {
  const auto place = [&](int64_t given) { axis = static_cast<size_t>(given); };
  if (pick.op == "Gather" && pick.inputs.size() == 2) {
    const EvenNumber* index = counts_->find(pick.inputs[1]);
    const int64_t given = int_attribute(pick, "axis", 0);
    if (index == nullptr || index->rank > 1 || given < 0 || given > 1) return std::nullopt;
    place(given);
    return *index;
  }
  if (pick.op != "Slice" || pick.inputs.size() < 4) return std::nullopt;
  const EvenNumber *begin = counts_->find(pick.inputs[1]), *end = counts_->find(pick.inputs[2]);
  const Weight* axes = find_weight(body_, pick.inputs[3]);
  if (begin == nullptr || end == nullptr || axes == nullptr || axes->is_sparse() ||
      pick.inputs.size() > 4)
    return std::nullopt;
  const std::vector<int64_t> given = to_i64(axes->dense());
  const bool one_step = begin->per_step == end->per_step && begin->per_trips == end->per_trips &&
                        end->start == begin->start + 1;
  if (!one_step || given.size() != 1 || given[0] < 0 || given[0] > 1) return std::nullopt;
  place(given[0]);
  EvenNumber result = *begin;
  result.rank = 1;
  return result;
}

// Gather and Slice that take a step of a value which is the same in all runs.
void Reader::find_sequences() {
  for (const Node& node : body_.nodes) {
    if (!is_default_domain(node) || node.inputs.empty() || node.outputs.empty()) continue;
    const auto data = given_.find(bare(node.inputs[0]));
    if (data == given_.end()) continue;
    size_t axis = 0;
    const std::optional<EvenNumber> index = picked(node, axis);
    if (!index) continue;
    const bool backwards = counts_->is_backwards(*index) && !counts_->is_forwards(*index);
    if (!backwards && !counts_->is_forwards(*index)) continue;
    add_sequence(node.outputs[0], data->second, axis, index->rank == 1, backwards);
  }
}

bool Reader::add_sequence(ValueId step, ValueId data, size_t axis, bool keeps_axis,
                          bool backwards) {
  std::optional<Shape> shape = around_.shape(data);
  if (!shape) {  // as a Loop declares it that carries the sequence
    for (const auto& [inside, outside] : given_)
      if (outside == data && !shape) shape = body_.values[inside].shape;
  }
  if (!shape || shape->size() != 3) return false;
  StepInput input{step, shape->back(), keeps_axis ? size_t{3} : size_t{2}, 2};
  if (keeps_axis && axis == 1) input.batch = 3;
  step_.sequences.push_back({step_.inputs.size(), data, axis, backwards});
  step_.inputs.push_back(input);
  return true;
}

// States after the last run; scan outputs of a Loop.
bool Reader::add_outputs(size_t states) {
  for (size_t i = 0; i < node_.outputs.size(); ++i) {
    LoopStep::Output output;
    if (i >= states) {
      output.value = body_.outputs[1 + i];
    } else if (const auto vector = vectors_.find(i); vector != vectors_.end()) {
      output.state = vector->second;
    } else if (const auto given = given_.find(body_.inputs[2 + i]); given != given_.end()) {
      output.given = given->second;
    } else {
      output.count = counts_->last(i);
      output.count_dtype = body_.values[body_.inputs[2 + i]].dtype;
    }
    step_.outputs.push_back(output);
  }
  return true;
}

std::optional<LoopStep> Reader::result() {
  if (step_.sequences.empty()) return std::nullopt;
  const ValueId state = step_.inputs[step_.states[0].input].value;
  step_.dtype = body_.values[state].dtype;
  if (step_.dtype == DType::kUnknown) step_.dtype = around_.dtype(step_.initial[0]);
  return std::move(step_);
}

std::optional<LoopStep> Reader::loop() {
  counts_.reset();
  std::optional<LoopCounts> counts = LoopCounts::of(node_, body_, around_);
  if (!counts) return std::nullopt;
  counts_.emplace(*std::move(counts));
  const size_t states = node_.inputs.size() - 2;
  if (!add_states(2, 1, states) || node_.outputs.size() + 1 > body_.outputs.size())
    return std::nullopt;
  add_constants();
  find_sequences();
  if (counts_->trips() >= 0) step_.trips = counts_->trips();
  step_.trips_value = counts_->trips_value();
  add_outputs(states);
  return result();
}

// Scan from operator set 9 on: states, then sequences.
std::optional<LoopStep> Reader::scan() {
  const int64_t scanned = int_attribute(node_, "num_scan_inputs", 0);
  const auto inputs = static_cast<int64_t>(node_.inputs.size());
  if (around_.opset() < 9 || scanned < 1 || scanned >= inputs ||
      body_.inputs.size() != node_.inputs.size())
    return std::nullopt;
  const auto states = static_cast<size_t>(inputs - scanned);
  if (body_.outputs.size() < node_.outputs.size() || body_.outputs.size() < states)
    return std::nullopt;
  const auto axes = ints_attribute(node_, "scan_input_axes", {}),
             directions = ints_attribute(node_, "scan_input_directions", {}),
             out_axes = ints_attribute(node_, "scan_output_axes", {}),
             out_directions = ints_attribute(node_, "scan_output_directions", {});
  const auto at = [](const std::vector<int64_t>& list, size_t i) {
    return i < list.size() ? list[i] : 0;
  };
  if (!add_states(0, 0, states)) return std::nullopt;
  add_constants();
  for (size_t i = 0; i < static_cast<size_t>(scanned); ++i) {
    const int64_t axis = at(axes, i) < 0 ? at(axes, i) + 3 : at(axes, i);
    if (axis < 0 || axis > 1) return std::nullopt;
    if (!add_sequence(body_.inputs[states + i], node_.inputs[states + i], static_cast<size_t>(axis),
                      false, at(directions, i) == 1))
      return std::nullopt;
  }
  for (size_t i = 0; i < node_.outputs.size(); ++i) {
    LoopStep::Output output;
    if (i >= states) {
      const int64_t axis = at(out_axes, i - states);
      output.value = body_.outputs[i];
      output.backwards = at(out_directions, i - states) == 1;
      output.axis = static_cast<size_t>(axis < 0 ? axis + 3 : axis);
      if (output.axis > 1) return std::nullopt;
    } else if (const auto vector = vectors_.find(i); vector != vectors_.end()) {
      output.state = vector->second;
    } else {
      output.given = given_.at(body_.inputs[i]);
    }
    step_.outputs.push_back(output);
  }
  return result();
}

}  // namespace

std::optional<LoopStep> loop_step(const Node& node, GraphAround& around) {
  const Graph* body = find_subgraph(node, "body");
  if (body == nullptr || !is_default_domain(node)) return std::nullopt;
  Reader reader(node, *body, around);
  if (node.op == "Loop") return reader.loop();
  if (node.op == "Scan") return reader.scan();
  return std::nullopt;
}

}  // namespace espalier
