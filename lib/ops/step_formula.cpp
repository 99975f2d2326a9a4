// Constants of a step and parts of them; operators on columns are in step_columns.cpp.

#include "lib/ops/step_formula.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>

#include "lib/base/error.h"
#include "lib/ir/node_kinds.h"
#include "lib/ops/run_once.h"

namespace espalier {
namespace {

// What constants of the body that are made of others may take in all.
constexpr size_t kMadeBytes = size_t{256} << 20;

// [1, ..., rows, columns]
bool is_matrix(const Shape& shape) {
  return shape.size() >= 2 &&
         std::all_of(shape.begin(), shape.end() - 2, [](int64_t extent) { return extent == 1; }) &&
         std::ranges::all_of(shape, [](int64_t extent) { return extent >= 0; });
}

}  // namespace

int64_t StepColumns::width() const {
  return std::accumulate(pieces.begin(), pieces.end(), int64_t{0},
                         [](int64_t sum, const Piece& piece) { return sum + piece.width; });
}

StepFormula::StepFormula(const Graph& body, int64_t opset, DType dtype,
                         std::vector<StepInput> inputs, std::vector<StepConstant> constants,
                         ThreadPool& pool)
    : opset_(opset),
      dtype_(dtype),
      pool_(pool),
      inputs_(std::move(inputs)),
      constants_(std::move(constants)),
      bytes_left_(kMadeBytes) {
  for (size_t i = 0; i < constants_.size(); ++i) {
    constants_[i].sources = {i};
    known_.emplace(constants_[i].value, view_of(i));
  }
  infer_widths(body);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    AtomRecord record;
    record.source = i;
    record.columns = {0, inputs_[i].width};
    const Atom atom = atoms_.add(std::move(record));
    known_.emplace(inputs_[i].value, StepColumns{{{inputs_[i].width, Polynomial::atom(atom)}},
                                                 inputs_[i].rank,
                                                 inputs_[i].batch});
  }
  for (const Node& node : body.nodes) add_node(node);
}

// A product with a constant says how wide its left operand is.
void StepFormula::infer_widths(const Graph& body) {
  for (const Node& node : body.nodes) {
    if (!is_default_domain(node) || (node.op != "MatMul" && node.op != "Gemm") ||
        node.inputs.size() < 2)
      continue;
    const View* matrix = view(node.inputs[1]);
    const auto input = std::ranges::find(inputs_, node.inputs[0], &StepInput::value);
    if (matrix == nullptr || input == inputs_.end() || input->width >= 0) continue;
    const Shape& shape = constants_[matrix->constant].shape;
    if (!is_matrix(shape)) continue;
    const bool turned = node.op == "Gemm" && int_attribute(node, "transB", 0) != 0;
    input->width = shape[shape.size() - (turned ? 1 : 2)];
  }
}

const StepColumns* StepFormula::find(ValueId value) const {
  const auto found = known_.find(value);
  return found == known_.end() ? nullptr : std::get_if<StepColumns>(&found->second);
}

StepFormula::View StepFormula::view_of(size_t constant) const {
  View result{constant, false, true, {}, {}};
  const Shape& shape = constants_[constant].shape;
  if (is_matrix(shape)) {
    result.rows = {0, shape[shape.size() - 2]};
    result.columns = {0, shape.back()};
  }
  return result;
}

const StepFormula::View* StepFormula::view(ValueId value) const {
  const auto found = known_.find(value);
  return found == known_.end() ? nullptr : std::get_if<View>(&found->second);
}

const Tensor* StepFormula::dense(ValueId value) const {
  const View* found = view(value);
  if (found == nullptr || !found->whole || found->transposed) return nullptr;
  const std::optional<Tensor>& tensor = constants_[found->constant].dense;
  return tensor ? &*tensor : nullptr;
}

const StepColumns* StepFormula::columns(const Node& node, size_t input) const {
  return input < node.inputs.size() ? find(node.inputs[input]) : nullptr;
}

std::optional<double> StepFormula::number(const Node& node, size_t input) const {
  const Tensor* tensor = input < node.inputs.size() ? dense(node.inputs[input]) : nullptr;
  if (tensor == nullptr || tensor->count() != 1 || !is_float(tensor->dtype())) return std::nullopt;
  return to_f32(*tensor)[0];
}

// An attribute, or an input that is a constant, whichever the node has.
std::optional<std::vector<int64_t>> StepFormula::integers(const Node& node, size_t input,
                                                          std::string_view attribute) const {
  if (const Attribute* found = find_attribute(node, attribute)) {
    const auto* values = std::get_if<std::vector<int64_t>>(&found->value);
    return values == nullptr ? std::nullopt : std::optional(*values);
  }
  const Tensor* tensor = input < node.inputs.size() ? dense(node.inputs[input]) : nullptr;
  if (tensor == nullptr || is_float(tensor->dtype())) return std::nullopt;
  return to_i64(*tensor);
}

// The elements of a part of a constant, [rows, columns] as the body sees them.
Tensor StepFormula::materialised(const View& view) const {
  const StepConstant& constant = constants_[view.constant];
  const Tensor& from = *constant.dense;
  if (view.whole && !view.transposed) return from;
  const Tensor held = from.held();
  const auto size = bytes_of(held.dtype());
  Shape shape = constant.shape;
  shape[shape.size() - 2] = view.transposed ? view.columns.size() : view.rows.size();
  shape.back() = view.transposed ? view.rows.size() : view.columns.size();
  Tensor result = Tensor::zeros(held.dtype(), shape);
  std::byte* to = result.mutable_bytes().data();
  const int64_t width = constant.shape.back();
  for (int64_t row = view.rows.begin; row < view.rows.end; ++row) {
    for (int64_t column = view.columns.begin; column < view.columns.end; ++column) {
      const int64_t r = row - view.rows.begin, c = column - view.columns.begin;
      const int64_t at = view.transposed ? c * view.rows.size() + r : r * view.columns.size() + c;
      std::memcpy(to + static_cast<size_t>(at) * size,
                  held.bytes().data() + static_cast<size_t>(row * width + column) * size, size);
    }
  }
  return result;
}

void StepFormula::add_node(const Node& node) {
  const bool given = std::ranges::all_of(
      node.outputs, [&](ValueId output) { return output == kNoValue || known_.contains(output); });
  if (given || add_constants(node) || add_epilogue(node) || add_split(node)) return;
  if (node.outputs.empty() || node.outputs[0] == kNoValue || !is_default_domain(node)) return;
  if (Columns result = of_node(node)) known_.emplace(node.outputs[0], *std::move(result));
}

// The same matrix transposed, or a slice of it.
std::optional<StepFormula::View> StepFormula::narrowed(const Node& node) const {
  const View* from = node.inputs.empty() ? nullptr : view(node.inputs[0]);
  if (from == nullptr || !is_default_domain(node)) return std::nullopt;
  View result = *from;
  const Shape& shape = constants_[from->constant].shape;
  if (node.op == "Identity") return result;
  if (node.op == "Cast" && constants_[from->constant].dense)
    return int_attribute(node, "to", 0) == 1 &&
                   constants_[from->constant].dense->dtype() == DType::kF32
               ? std::optional(result)
               : std::nullopt;
  if (!is_matrix(shape)) return std::nullopt;
  const auto rank = static_cast<int64_t>(shape.size());
  if (node.op == "Transpose") {
    std::vector<int64_t> swap(shape.size());
    std::iota(swap.begin(), swap.end(), 0);
    std::swap(swap[shape.size() - 1], swap[shape.size() - 2]);
    const std::vector<int64_t> usual = rank == 2 ? swap : std::vector<int64_t>{};
    if (ints_attribute(node, "perm", usual) != swap) return std::nullopt;
    result.transposed = !result.transposed;
    return result;
  }
  if (node.op != "Slice") return std::nullopt;
  const auto begin = integers(node, 1, "starts"), end = integers(node, 2, "ends"),
             axes = integers(node, 3, "axes"), steps = integers(node, 4, "steps");
  const bool plain = begin && end && axes && begin->size() == 1 && end->size() == 1 &&
                     axes->size() == 1 &&
                     (node.inputs.size() < 5 || steps == std::vector<int64_t>{1});
  if (!plain) return std::nullopt;
  const int64_t axis = (*axes)[0] < 0 ? (*axes)[0] + rank : (*axes)[0];
  if (axis < rank - 2 || axis >= rank) return std::nullopt;
  ColumnRange& range = (axis == rank - 1) != result.transposed ? result.columns : result.rows;
  const auto at = [&](int64_t place) {
    return std::clamp<int64_t>(place < 0 ? place + range.size() : place, 0, range.size());
  };
  const ColumnRange part{range.begin + at((*begin)[0]), range.begin + at((*end)[0])};
  if (part.size() <= 0) return std::nullopt;
  result.whole = result.whole && part == range;
  range = part;
  return result;
}

// Where all inputs are constants: a part of the first, or what the node computes. False where they
// are not, or where it cannot be computed.
bool StepFormula::add_constants(const Node& node) {
  std::deque<Weight> parts;
  std::vector<const Weight*> inputs;
  std::vector<size_t> sources;
  bool all_dense = true;
  for (const ValueId input : node.inputs) {
    const View* found = input == kNoValue ? nullptr : view(input);
    if (input != kNoValue && found == nullptr) return false;
    all_dense = all_dense && (found == nullptr || constants_[found->constant].dense);
  }
  if (const std::optional<View> part = narrowed(node); part && node.outputs[0] != kNoValue) {
    known_.emplace(node.outputs[0], *part);
    return true;
  }
  const Operator* entry = find_operator(node.op, node.domain);
  if (!all_dense || entry == nullptr || entry->prepare == nullptr || node.inputs.empty())
    return false;
  for (const ValueId input : node.inputs) {
    if (input == kNoValue) {
      inputs.push_back(nullptr);
      continue;
    }
    const View& found = *view(input);
    const Tensor part = materialised(found);
    inputs.push_back(&parts.emplace_back(Weight{part, {}}));
    const auto& made_of = constants_[found.constant].sources;
    if (is_float(part.dtype())) sources.insert(sources.end(), made_of.begin(), made_of.end());
  }
  std::optional<std::vector<Tensor>> results;
  try {
    results = run_once(*entry, node, opset_, inputs, pool_, bytes_left_);
  } catch (const Error&) {
    return false;
  }
  if (!results) return false;
  for (size_t i = 0; i < node.outputs.size() && i < results->size(); ++i) {
    if (node.outputs[i] == kNoValue) continue;
    const Tensor& made = (*results)[i];
    bytes_left_ -= std::min(bytes_left_, made.bytes().size());
    constants_.push_back({kNoValue, made, made.shape(), sources});
    known_.emplace(node.outputs[i], view_of(constants_.size() - 1));
  }
  return true;
}

StepFormula::Columns StepFormula::multiplied(const StepColumns& x, ValueId matrix, bool transposed,
                                             double scale) {
  const View* found = view(matrix);
  if (found == nullptr || !is_matrix(constants_[found->constant].shape)) return std::nullopt;
  const View by = *found;
  const bool turned = by.transposed != transposed;  // stored as [outputs, inputs]
  const ColumnRange outputs = turned ? by.rows : by.columns, inputs = turned ? by.columns : by.rows;
  if (x.width() != inputs.size()) return std::nullopt;
  Polynomial result;
  int64_t offset = inputs.begin;
  for (const StepColumns::Piece& piece : x.pieces) {
    AtomRecord record;
    record.kind = AtomRecord::Kind::kProduct;
    record.source = by.constant;
    record.columns = outputs;
    record.inputs = {offset, offset + piece.width};
    record.transposed = turned;
    record.argument = piece.formula;
    result = sum(result, Polynomial::atom(atoms_.add(std::move(record)), scale));
    offset += piece.width;
  }
  const size_t rank = std::max(x.rank, constants_[by.constant].shape.size());
  return StepColumns{{{outputs.size(), std::move(result)}}, rank, x.batch};
}

}  // namespace espalier
