// Long because what is checked before the graph changes is what the operator is then made of.
#include "lib/passes/recurrent_node.h"

#include "lib/ir/node_kinds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>

namespace espalier {
namespace {

using Sources = std::vector<std::pair<std::string, size_t>>;

// A matrix that is multiplied, as it is stored: which part of it, and what it is made of.
struct Rows {
  Tensor from;
  ColumnRange outputs, inputs;
  bool transposed = false;
  double scale = 1;
  Sources sources;
};

// x W + bias that a loop is given as its sequence.
struct Projected {
  ValueId x = kNoValue;
  size_t axis = 0;
  Tensor w;  // [I, outputs]
  std::optional<Tensor> bias;
  Sources sources, bias_sources;
};

class Builder {
 public:
  Builder(const Node& loop, const LoopStep& step, const StepFormula& formula,
          const RecurrentStep& found, GraphAround& around, std::unordered_set<std::string>& names)
      : loop_(loop),
        step_(step),
        formula_(formula),
        found_(found),
        around_(around),
        names_(names),
        hidden_(found.hidden),
        gates_(static_cast<int64_t>(found.gates.size())) {}

  bool fits(const std::function<bool(ValueId)>& is_read);
  RecurrentNodes made();

 private:
  const LoopStep::Sequence* sequence_of(size_t input) const;
  std::optional<Projected> projected(const LoopStep::Sequence& sequence);
  bool add_rows();
  bool add_projected(const RecurrentStep::Sum& sum);
  std::optional<Rows> rows(const RecurrentStep::Matrix& matrix) const;
  bool add_biases(const RecurrentStep::Sum& sum, size_t gate, bool held);
  bool add_bias(const Tensor& from, ColumnRange columns, double scale, size_t at);
  Sources sources_of(size_t constant) const;
  bool batches_fit();
  bool is_output(const LoopStep::Output& output) const;

  ValueId value(const std::string& what, std::optional<Shape> shape = {});
  ValueId weight(const std::string& what, Tensor tensor);
  ValueId integers(const std::string& what, const std::vector<int64_t>& values);
  ValueId add(std::string op, std::vector<ValueId> inputs, ValueId output);
  ValueId transposed(ValueId from, ValueId to);
  ValueId with_axes(const char* op, ValueId from, int64_t axis, ValueId to);
  ValueId sequence();
  ValueId turned(ValueId y);
  ValueId initial(size_t state);
  Tensor stacked(const std::vector<Rows>& parts, int64_t width) const;
  void add_output(const LoopStep::Output& output, ValueId to, ValueId y,
                  const std::vector<ValueId>& last);
  ValueId named(const std::string& what, Tensor tensor, const Sources& sources);

  const Node& loop_;
  const LoopStep& step_;
  const StepFormula& formula_;
  const RecurrentStep& found_;
  GraphAround& around_;
  std::unordered_set<std::string>& names_;
  int64_t hidden_, gates_;
  std::vector<std::pair<const LoopStep::Output*, ValueId>> outputs_;  // that are read
  ValueId x_ = kNoValue;                                              // with its time along axis_
  size_t axis_ = 0;
  bool backwards_ = false;
  std::vector<Rows> w_, r_;
  std::vector<float> bias_;  // Wb of all gates, then Rb
  bool has_bias_ = false;
  Sources bias_sources_;
  RecurrentNodes result_;
};

const LoopStep::Sequence* Builder::sequence_of(size_t input) const {
  const auto found = std::ranges::find(step_.sequences, input, &LoopStep::Sequence::input);
  return found == step_.sequences.end() ? nullptr : &*found;
}

Sources Builder::sources_of(size_t constant) const {
  Sources result;
  for (const size_t given : formula_.constants()[constant].sources) {
    if (given < step_.sources.size())
      result.insert(result.end(), step_.sources[given].begin(), step_.sources[given].end());
  }
  return result;
}

// A product of the sequence before the loop, its bias added or not, in either order of axes.
std::optional<Projected> Builder::projected(const LoopStep::Sequence& sequence) {
  Projected result;
  result.axis = sequence.axis;
  ValueId at = sequence.data;
  for (const Node* node = around_.maker(at); node != nullptr && is_default_domain(*node);
       node = around_.maker(at)) {
    if (node->op == "Transpose") {
      if (ints_attribute(*node, "perm", {}) != std::vector<int64_t>{1, 0, 2}) return std::nullopt;
      result.axis = 1 - result.axis;
      at = node->inputs[0];
    } else if (node->op == "Identity") {
      at = node->inputs[0];
    } else if (node->op == "Add" && !result.bias) {
      const size_t row = around_.constant(node->inputs[1]) != nullptr ? 1 : 0;
      const GraphAround::Constant* bias = around_.constant(node->inputs[row]);
      if (bias == nullptr || bias->weight.is_sparse()) return std::nullopt;
      const Tensor& tensor = bias->weight.dense();
      if (tensor.shape().empty() || tensor.shape().back() != static_cast<int64_t>(tensor.count()))
        return std::nullopt;
      result.bias = tensor;
      result.bias_sources = bias->sources;
      at = node->inputs[1 - row];
    } else if (node->op == "MatMul") {
      const GraphAround::Constant* w = around_.constant(node->inputs[1]);
      const std::optional<Shape> x = around_.shape(node->inputs[0]);
      const bool fits = w != nullptr && !w->weight.is_sparse() && w->weight.shape().size() == 2 &&
                        (!x || x->size() == 3);
      if (!fits) return std::nullopt;
      result.x = node->inputs[0];
      result.w = w->weight.dense();
      result.sources = w->sources;
      return result;
    } else {
      break;
    }
  }
  return std::nullopt;
}

std::optional<Rows> Builder::rows(const RecurrentStep::Matrix& matrix) const {
  const std::optional<Tensor>& dense = formula_.constants()[matrix.constant].dense;
  const bool fits = dense && dense->dtype() == step_.dtype && matrix.outputs.size() == hidden_;
  if (!fits) return std::nullopt;
  return Rows{*dense,        matrix.outputs,
              matrix.inputs, matrix.transposed,
              matrix.scale,  sources_of(matrix.constant)};
}

bool Builder::add_bias(const Tensor& from, ColumnRange columns, double scale, size_t at) {
  if (!is_float(from.dtype()) || columns.size() != hidden_ ||
      columns.end > static_cast<int64_t>(from.count()))
    return false;
  const std::vector<float> values = to_f32(from);
  for (int64_t i = 0; i < hidden_; ++i) {
    float& to = bias_[at + static_cast<size_t>(i)];
    const float added = values[static_cast<size_t>(columns.begin + i)];
    to = scale == 1 ? to + added : static_cast<float>(to + scale * added);
  }
  has_bias_ = true;
  return true;
}

// Of two biases one goes to W x and one to R h, as cells store them.
bool Builder::add_biases(const RecurrentStep::Sum& sum, size_t gate, bool held) {
  const auto h = static_cast<size_t>(hidden_), all = static_cast<size_t>(gates_) * h;
  const bool only_x = found_.reset_after && gate == 2;
  for (size_t i = 0; i < sum.biases.size(); ++i) {
    const RecurrentStep::Added& bias = sum.biases[i];
    const std::optional<Tensor>& dense = formula_.constants()[bias.source].dense;
    const bool second = held || (!only_x && i == 1);
    if (!dense || !add_bias(*dense, bias.columns, bias.scale, (second ? all : 0) + gate * h))
      return false;
    const Sources sources = sources_of(bias.source);
    bias_sources_.insert(bias_sources_.end(), sources.begin(), sources.end());
  }
  if (sum.number != 0) {
    has_bias_ = true;
    for (size_t i = 0; i < h; ++i)
      bias_[(held ? all : 0) + gate * h + i] += static_cast<float>(sum.number);
  }
  return true;
}

// W and bias of a gate whose product with the sequence was made before the loop.
bool Builder::add_projected(const RecurrentStep::Sum& sum) {
  const LoopStep::Sequence* sequence = sum.x.size() == 1 ? sequence_of(sum.x[0].source) : nullptr;
  if (sequence == nullptr || sum.x[0].columns.size() != hidden_) return false;
  const std::optional<Projected> before = projected(*sequence);
  if (!before || before->w.dtype() != step_.dtype || sum.x[0].columns.end > before->w.shape()[1])
    return false;
  if (x_ != kNoValue &&
      (x_ != before->x || axis_ != before->axis || backwards_ != sequence->backwards))
    return false;
  x_ = before->x;
  axis_ = before->axis;
  backwards_ = sequence->backwards;
  const double scale = sum.x[0].scale;
  if (before->bias) {
    const size_t at = w_.size() * static_cast<size_t>(hidden_);
    if (!add_bias(*before->bias, sum.x[0].columns, scale, at)) return false;
    bias_sources_.insert(bias_sources_.end(), before->bias_sources.begin(),
                         before->bias_sources.end());
  }
  w_.push_back(
      {before->w, sum.x[0].columns, {0, before->w.shape()[0]}, false, scale, before->sources});
  return true;
}

// W, R and biases gate by gate, and the sequence that all of them read.
bool Builder::add_rows() {
  bias_.assign(2 * static_cast<size_t>(gates_ * hidden_), 0);
  for (size_t gate = 0; gate < found_.gates.size(); ++gate) {
    const RecurrentStep::Sum& sum = found_.gates[gate];
    const bool is_held = found_.reset_after && gate == 2;
    const RecurrentStep::Sum& recurrent = is_held ? *found_.held : sum;
    const std::optional<Rows> r = recurrent.r ? rows(*recurrent.r) : std::nullopt;
    if (!r || r->inputs.size() != hidden_) return false;
    r_.push_back(*r);
    if (!sum.w) {
      if (!add_projected(sum)) return false;
    } else {
      const LoopStep::Sequence* sequence = sequence_of(*sum.input);
      const std::optional<Rows> w = rows(*sum.w);
      const bool fits = sequence != nullptr && w &&
                        (x_ == kNoValue || (x_ == sequence->data && axis_ == sequence->axis &&
                                            backwards_ == sequence->backwards));
      if (!fits) return false;
      x_ = sequence->data;
      axis_ = sequence->axis;
      backwards_ = sequence->backwards;
      w_.push_back(*w);
    }
    if (w_.back().inputs.size() != w_[0].inputs.size()) return false;
    if (!add_biases(sum, gate, false) || (is_held && !add_biases(recurrent, gate, true)))
      return false;
  }
  return true;
}

// Whether the initial states have the sequence's batch, as far as both are known. A state of one
// row that the first run would widen is not what the operator takes, unless it is zero.
bool Builder::batches_fit() {
  const std::optional<Shape> x = around_.shape(x_);
  const int64_t batch = x && x->size() == 3 ? (*x)[1 - axis_] : -1;
  for (size_t i = 0; i < step_.states.size(); ++i) {
    const StepInput& state = step_.inputs[step_.states[i].input];
    const std::optional<Shape> shape = around_.shape(step_.initial[i]);
    if (!shape || shape->size() != state.rank) {
      if (shape) return false;
      continue;
    }
    const int64_t rows = (*shape)[state.rank - state.batch];
    const bool fits = rows < 0 || rows == batch || (batch < 0 && rows != 1);
    if (!fits && !(rows == 1 && around_.is_zero(step_.initial[i]))) return false;
  }
  return true;
}

bool Builder::is_output(const LoopStep::Output& output) const {
  if (output.state || output.given != kNoValue) return true;
  if (output.count) return output.count_dtype == DType::kI64 || output.count_dtype == DType::kI32;
  if (output.value == kNoValue) return false;
  const StepColumns* made = formula_.find(output.value);
  const StepColumns* h = formula_.find(step_.states[found_.h].next);
  return made != nullptr && h != nullptr && made->pieces.size() == 1 && h->pieces.size() == 1 &&
         made->pieces[0].formula == h->pieces[0].formula && made->width() == h->width() &&
         made->rank <= 3 && (made->rank == 2 || output.axis == 0);
}

bool Builder::fits(const std::function<bool(ValueId)>& is_read) {
  const bool known =
      step_.dtype == DType::kF32 || step_.dtype == DType::kF16 || step_.dtype == DType::kBF16;
  if (!known || !add_rows()) return false;
  for (size_t i = 0; i < loop_.outputs.size(); ++i) {
    if (loop_.outputs[i] == kNoValue || !is_read(loop_.outputs[i])) continue;
    if (!is_output(step_.outputs[i])) return false;
    outputs_.emplace_back(&step_.outputs[i], loop_.outputs[i]);
  }
  const std::optional<Shape> x = around_.shape(x_);
  if (x && x->size() != 3) return false;
  const bool too_short = x && step_.trips && (*x)[axis_] >= 0 && (*x)[axis_] < *step_.trips;
  return !too_short && batches_fit();
}

ValueId Builder::value(const std::string& what, std::optional<Shape> shape) {
  std::string base = loop_.name;
  for (size_t i = 0; base.empty() && i < loop_.outputs.size(); ++i)
    if (loop_.outputs[i] != kNoValue) base = around_.graph().values[loop_.outputs[i]].name;
  std::string name = fmt::format("{}/{}", base, what);
  for (size_t i = 0; !names_.insert(name).second; ++i)
    name = fmt::format("{}/{}.{}", base, what, i);
  return add_value(around_.graph(), name, shape ? step_.dtype : DType::kUnknown, shape);
}

ValueId Builder::weight(const std::string& what, Tensor tensor) {
  const ValueId id = value(what, tensor.shape());
  around_.graph().values[id].dtype = tensor.dtype();
  around_.graph().weights[id] = {std::move(tensor), {}};
  return id;
}

ValueId Builder::integers(const std::string& what, const std::vector<int64_t>& values) {
  return weight(what, Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
}

ValueId Builder::add(std::string op, std::vector<ValueId> inputs, ValueId output) {
  Node node;
  node.op = std::move(op);
  node.name = around_.graph().values[output].name;
  node.inputs = std::move(inputs);
  node.outputs = {output};
  node.number = loop_.number;
  result_.nodes.push_back(std::move(node));
  return output;
}

ValueId Builder::transposed(ValueId from, ValueId to) {
  add("Transpose", {from}, to);
  set_attribute(result_.nodes.back(), "perm", std::vector<int64_t>{1, 0, 2});
  return to;
}

// Squeeze or Unsqueeze, whose axes are an input from operator set 13 on.
ValueId Builder::with_axes(const char* op, ValueId from, int64_t axis, ValueId to) {
  std::vector<ValueId> inputs{from};
  if (around_.opset() >= 13) inputs.push_back(integers("axes", {axis}));
  add(op, std::move(inputs), to);
  if (around_.opset() < 13) set_attribute(result_.nodes.back(), "axes", std::vector<int64_t>{axis});
  return to;
}

// X [T, N, I], the steps that the loop makes.
ValueId Builder::sequence() {
  ValueId x = x_;
  const std::optional<Shape> shape = around_.shape(x_);
  if (axis_ == 1) {
    std::optional<Shape> turned = shape;
    if (turned) std::swap((*turned)[0], (*turned)[1]);
    x = transposed(x, value("x", turned));
  }
  const bool all = step_.trips ? shape && (*shape)[axis_] == *step_.trips
                               : step_.trips_value == kNoValue ||
                                     around_.is_extent(step_.trips_value, x_, axis_);
  if (all) return x;
  ValueId end = kNoValue;
  if (step_.trips) {
    end = integers("steps", {*step_.trips});
  } else {
    const ValueId count = value("count");
    add("Cast", {step_.trips_value}, count);
    set_attribute(result_.nodes.back(), "to", int64_t{7});
    end = add("Reshape", {count, integers("one", {1})}, value("steps"));
  }
  const ValueId to = value("x");
  add("Slice", {x, integers("first", {0}), end, integers("axis", {0})}, to);
  return to;
}

// [1, N, H], or nothing where it starts at zero.
ValueId Builder::initial(size_t state) {
  const StepInput& input = step_.inputs[step_.states[state].input];
  const ValueId given = step_.initial[state];
  if (around_.is_zero(given)) return kNoValue;
  if (input.rank == 2) return with_axes("Unsqueeze", given, 0, value("initial"));
  return input.batch == 2 ? given : transposed(given, value("initial"));
}

// The gates' rows below each other, [1, gates * H, width].
Tensor Builder::stacked(const std::vector<Rows>& parts, int64_t width) const {
  Tensor result = Tensor::zeros(step_.dtype, {1, gates_ * hidden_, width});
  const size_t size = bytes_of(step_.dtype);
  std::byte* to = result.mutable_bytes().data();
  for (const Rows& part : parts) {
    const Tensor from = part.from.held();
    const int64_t across = from.shape().back();
    for (int64_t row = part.outputs.begin; row < part.outputs.end; ++row) {
      for (int64_t column = part.inputs.begin; column < part.inputs.end; ++column, to += size) {
        const int64_t at = part.transposed ? row * across + column : column * across + row;
        std::memcpy(to, from.bytes().data() + static_cast<size_t>(at) * size, size);
      }
    }
  }
  const bool plain = std::ranges::all_of(parts, [](const Rows& part) { return part.scale == 1; });
  if (plain) return result;
  std::vector<float> values = to_f32(result);
  const size_t count = values.size() / parts.size();
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(values[i] * parts[i / count].scale);
  return from_f32(values, step_.dtype, result.shape());
}

// A weight that is known by the largest constant that it is made of.
ValueId Builder::named(const std::string& what, Tensor tensor, const Sources& sources) {
  const ValueId id = weight(what, std::move(tensor));
  const auto largest = std::ranges::max_element(sources, {}, &Sources::value_type::second);
  if (largest != sources.end()) result_.weights.push_back({id, largest->first});
  return id;
}

// From the last step to the first; by an index where the steps are known, which NNEF has too.
ValueId Builder::turned(ValueId y) {
  const std::optional<Shape> shape = around_.shape(x_);
  const int64_t steps = step_.trips ? *step_.trips : shape ? (*shape)[axis_] : -1;
  if (steps < 1) {
    return add("Slice",
               {y, integers("last", {-1}), integers("end", {INT64_MIN + 1}), integers("axis", {0}),
                integers("back", {-1})},
               value("turned"));
  }
  std::vector<int64_t> order;
  for (int64_t step = steps; step-- > 0;) order.push_back(step);
  return add("Gather", {y, integers("order", order)}, value("turned"));
}

// Brings Y [T, 1, N, H] or a last state [1, N, H] into the layout of the loop's output.
void Builder::add_output(const LoopStep::Output& output, ValueId to, ValueId y,
                         const std::vector<ValueId>& last) {
  if (output.given != kNoValue) {
    add("Identity", {output.given}, to);
    return;
  }
  if (output.count) {
    Tensor count = Tensor::of<int64_t>({}, std::array<int64_t, 1>{*output.count});
    if (output.count_dtype == DType::kI32)
      count = Tensor::of<int32_t>({}, std::array<int32_t, 1>{static_cast<int32_t>(*output.count)});
    add("Identity", {weight("count", std::move(count))}, to);
    return;
  }
  if (output.state) {
    const StepInput& state = step_.inputs[step_.states[*output.state].input];
    const ValueId from = last[*output.state == found_.h ? 0 : 1];
    if (state.rank == 2) {
      with_axes("Squeeze", from, 0, to);
    } else if (state.batch == 2) {
      add("Identity", {from}, to);
    } else {
      transposed(from, to);
    }
    return;
  }
  const StepColumns& made = *formula_.find(output.value);
  if (backwards_ != output.backwards) y = turned(y);
  if (made.rank == 3 && made.batch == 2) {
    add("Identity", {y}, to);
  } else if (made.rank == 2 && output.axis == 0) {
    with_axes("Squeeze", y, 1, to);
  } else if (made.rank == 2) {
    transposed(with_axes("Squeeze", y, 1, value("y")), to);
  } else {
    with_axes("Unsqueeze", with_axes("Squeeze", y, 1, value("y")), 2, to);
  }
}

// The operator with its weights, between what makes its inputs and what takes its outputs.
RecurrentNodes Builder::made() {
  const auto all_sources = [](const std::vector<Rows>& parts) {
    Sources result;
    for (const Rows& part : parts)
      result.insert(result.end(), part.sources.begin(), part.sources.end());
    return result;
  };
  Node node;
  node.op = found_.op;
  node.name = loop_.name;
  node.number = loop_.number;
  node.inputs = {sequence(),
                 named("w", stacked(w_, w_[0].inputs.size()), all_sources(w_)),
                 named("r", stacked(r_, hidden_), all_sources(r_)),
                 kNoValue,
                 kNoValue,
                 initial(found_.h)};
  if (has_bias_) {
    node.inputs[3] =
        named("b", from_f32(bias_, step_.dtype, {1, 2 * gates_ * hidden_}), bias_sources_);
  }
  if (found_.op == "LSTM") node.inputs.push_back(initial(found_.c));
  while (node.inputs.back() == kNoValue) node.inputs.pop_back();
  set_attribute(node, "hidden_size", hidden_);
  if (backwards_) set_attribute(node, "direction", std::string("reverse"));
  if (found_.reset_after) set_attribute(node, "linear_before_reset", int64_t{1});
  const ActivationLists lists = activation_lists(found_);
  if (!lists.usual) {
    set_attribute(node, "activations", lists.names);
    if (!lists.alpha.empty()) set_attribute(node, "activation_alpha", lists.alpha);
    if (!lists.beta.empty()) set_attribute(node, "activation_beta", lists.beta);
  }
  node.outputs.assign(1 + step_.states.size(), kNoValue);
  for (const auto& [output, to] : outputs_) {
    const size_t at = !output->state ? 0 : *output->state == found_.h ? 1 : 2;
    const bool needed = output->state || output->value != kNoValue;
    if (needed && node.outputs[at] == kNoValue)
      node.outputs[at] = value(at == 0 ? "all" : at == 1 ? "last_h" : "last_c");
  }
  const ValueId y = node.outputs[0];
  const std::vector<ValueId> last(node.outputs.begin() + 1, node.outputs.end());
  while (!node.outputs.empty() && node.outputs.back() == kNoValue) node.outputs.pop_back();
  if (!node.outputs.empty()) result_.nodes.push_back(std::move(node));
  for (const auto& [output, to] : outputs_) add_output(*output, to, y, last);
  return std::move(result_);
}

}  // namespace

std::optional<RecurrentNodes> recurrent_nodes(const Node& loop, const LoopStep& step,
                                              const StepFormula& formula,
                                              const RecurrentStep& found, GraphAround& around,
                                              const std::function<bool(ValueId)>& is_read,
                                              std::unordered_set<std::string>& names) {
  Builder builder(loop, step, formula, found, around, names);
  if (!builder.fits(is_read)) return std::nullopt;
  return builder.made();
}

}  // namespace espalier
