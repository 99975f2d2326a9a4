#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/nnef/read/graph.h"
#include "formats/nnef/read/value.h"
#include "lib/base/limits.h"

namespace espalier::nnef {

/// Thrown by a translator that cannot say an invocation in ONNX semantics, before it has made a
/// node: a compound operator is then expanded, any other kept as it is (domain "nnef").
struct NotTranslated {};

/// Steps that reading one document may take: what a short text can multiply (comprehensions,
/// repeated arrays, nested fragments) ends here.
class Budget {
 public:
  /// Errors  Fault::kUnsupported when all are used up.
  void spend(size_t steps);

  /// For room in memory: items of lists, which take 100 bytes or more each, so that all that a
  /// document can make of them stays below half a GiB.
  void spend_for_items(size_t count);

 private:
  size_t left_ = limits::nnef_steps;
};

/// Where translation happens.
struct Reading {
  const Document& document;
  const LoadTensor& load;
  GraphBuilder& graph;
  Budget budget;
  std::unordered_map<std::string_view, const Fragment*> fragments;  ///< of the document

  /// Null where the document has none of that name.
  const Fragment* fragment(std::string_view name) const;
};

/// An integer among an operator's arguments: known, a formula over the symbols of inputs, or one
/// element of a tensor of integers that the graph computes.
struct Extent {
  int64_t value = -1;  ///< where it is known
  std::string formula{};
  TensorRef tensor{};  ///< of shape [] or [n]
  int64_t place = 0;   ///< in `tensor`

  bool is_known() const {
    return formula.empty() && tensor.id == kNoValue && tensor.constant == nullptr;
  }
};

/// An invocation with its arguments bound to the parameters of its declaration, fallbacks
/// included. Accessors take a parameter's name; a name that the declaration lacks is a bug.
/// Errors  Fault::kFormat with line:column where an argument is of another kind;
///         NotTranslated where it is a free dimension, or computed by the graph, and must be known.
class Call {
 public:
  Call(Reading& reading, const Fragment& declaration, std::vector<EvalValue> arguments,
       std::string generic, Position at)
      : reading(reading),
        graph(reading.graph),
        declaration(declaration),
        generic(std::move(generic)),
        at(at),
        arguments_(std::move(arguments)) {}

  const EvalValue& argument(std::string_view name) const;
  /// A literal becomes a constant of type `like` (kUnknown: its own type).
  TensorRef tensor(std::string_view name, DType like = DType::kUnknown) const;
  TensorRef as_tensor(const EvalValue& value, std::string_view name, DType like) const;
  std::vector<TensorRef> tensors(std::string_view name) const;
  bool is_literal(std::string_view name) const {
    return argument(name).kind != EvalValue::Kind::tensor;
  }
  int64_t integer(std::string_view name) const;
  double scalar(std::string_view name) const;
  bool logical(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  std::vector<int64_t> integers(std::string_view name) const;
  /// Integers of which some may be free: an array, arrays within it spread out, or a tensor [n].
  std::vector<Extent> extents(std::string_view name) const;
  /// [(a, b), ...]
  std::vector<std::pair<int64_t, int64_t>> pairs(std::string_view name) const;

  /// The rank, or NotTranslated.
  size_t rank(const TensorRef& tensor) const;
  Shape shape(const TensorRef& tensor) const;
  /// `axis` counted from the front.
  /// Errors  Fault::kFormat where it is outside 0 to rank - 1.
  size_t axis(int64_t axis, size_t rank) const;
  std::vector<int64_t> axes(std::string_view name, size_t rank) const;

  [[noreturn]] void fail(std::string_view text) const;

  Reading& reading;
  GraphBuilder& graph;
  const Fragment& declaration;
  std::string generic;
  Position at;

 private:
  std::vector<EvalValue> arguments_;
};

/// How one NNEF operator is said in ONNX semantics. `onnx` are the operators that it makes, with a
/// blank between them, the first the one that computes: for lists of operators.
struct Translator {
  std::string_view name;
  EvalValue (*translate)(const Call& call);
  std::string_view onnx = {};
};

std::span<const Translator> elementwise_translators();
std::span<const Translator> shape_translators();
std::span<const Translator> movement_translators();
std::span<const Translator> reduction_translators();
std::span<const Translator> layer_translators();
std::span<const Translator> pooling_translators();
std::span<const Translator> recurrent_translators();
std::span<const Translator> source_translators();
std::span<const Translator> tract_translators();

/// Null where there is none.
const Translator* find_translator(std::string_view name);

/// NNEF aligns shapes at the front: inputs of lower rank get extents of 1 at their end; scalars
/// stay. NotTranslated where an unknown rank matters.
void align_ranks(const Call& call, std::vector<TensorRef>& tensors);

/// The shape that ONNX broadcasts operands to; nothing where it is not known.
std::optional<Shape> broadcast_shape(const GraphBuilder& graph,
                                     const std::vector<TensorRef>& tensors);

/// Integers as an ONNX operator takes them (a shape, places); those that are not known are computed
/// while the graph runs. NotTranslated where a formula names symbols of no input.
TensorRef extents_tensor(const Call& call, std::string_view what,
                         const std::vector<Extent>& extents);
/// `tensor`, of whatever integers or floats, as i64.
TensorRef as_i64(const Call& call, const TensorRef& tensor);

/// `tensor` with its axes in the order of `axes`; a constant is turned around where it lies. Two
/// transposes in a row become one or none.
TensorRef transpose(GraphBuilder& graph, const TensorRef& tensor, const std::vector<int64_t>& axes);
TensorRef swap_last_axes(GraphBuilder& graph, const TensorRef& tensor, size_t rank);
/// `tensor` under a shape without free extents; constants keep their bytes.
TensorRef reshape(GraphBuilder& graph, const TensorRef& tensor, const Shape& shape);

}  // namespace espalier::nnef
