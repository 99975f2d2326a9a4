#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::nnef {

/// A position in graph.nnef; both count from 1.
struct Position {
  uint32_t line = 1, column = 1;
};

/// An expression of NNEF 1.0.5 (flat and compositional). `items` by kind:
///   array, tuple     the elements
///   call             the arguments; names[i] is "" for a positional one; `generic` is T of
///                    name<T>()
///   subscript        base, index
///   range            base, begin, end of base[begin:end]; a bound left out has kind nothing
///   unary, binary    the operands; `text` is the operator
///   if_else          value, condition, other value
///   comprehension    the targets, as many iterables, the condition if there is one, the yielded
///                    value; `names` is as long as there are targets
/// Invariant of parsed ones: `depth` is at most kMaxDepth, so recursion over an expression is safe.
struct Expr {
  enum class Kind : uint8_t {
    nothing,
    identifier,
    number,
    string,
    logical,
    array,
    tuple,
    call,
    subscript,
    range,
    unary,
    binary,
    if_else,
    comprehension,
  };
  static constexpr uint32_t kMaxDepth = 200;

  Kind kind = Kind::nothing;
  Position at;
  uint32_t depth = 1;
  std::string text;  ///< identifier, number as written, string without quotes, true or false,
                     ///< operator, or name of what is called
  std::string generic;
  std::vector<Expr> items;
  std::vector<std::string> names;
};

/// integer, scalar, logical, string or ? (primitive); tensor<name> ("" for tensor<>); an array of
/// items[0]; a tuple of the items.
struct Type {
  enum class Kind : uint8_t { primitive, tensor, array, tuple };
  Kind kind = Kind::primitive;
  std::string name;
  std::vector<Type> items;
};

struct Parameter {
  std::string name;
  Type type;
  std::optional<Expr> fallback;
};

/// `target = value;` where target is an identifier or an array or tuple of targets.
struct Assignment {
  Expr target, value;
};

struct Fragment {
  Position at;
  std::string name;
  bool is_generic = false;
  std::string generic_fallback;                ///< T of <? = T>
  std::vector<Parameter> parameters, results;  ///< results have no fallback
  std::optional<std::vector<Assignment>> body;
  std::string source;  ///< its text, word for word
};

/// `"tensor": operation(...);` of graph.quant; the operation's first parameter, the tensor, is not
/// among its arguments, which are all named.
struct Quantization {
  Position at;
  std::string tensor;
  Expr operation;
};

struct GraphDefinition {
  Position at;
  std::string name;
  std::vector<std::string> inputs, outputs;
  std::vector<Assignment> body;
};

/// One graph.nnef. An extension is the words of its line: {"tract_symbol", "N"}.
struct Document {
  std::string version;
  Position version_at;
  std::vector<std::vector<std::string>> extensions;
  std::vector<Fragment> fragments;
  std::optional<GraphDefinition> graph;
  std::vector<Quantization> quantization;  ///< of graph.quant, in its order
};

/// Errors  Fault::kFormat with line:column in front: not NNEF 1.x syntax, nested too deep, too big.
Document parse_document(std::string_view text);

/// The entries of graph.quant (NNEF 1.0.5, quantization file), no tensor twice.
/// Errors  as parse_document.
std::vector<Quantization> parse_quantization(std::string_view text);

/// Extension lines and fragments only, without a version line and a graph: what Origin::extra of a
/// model read from NNEF holds (see read_graph.h).
Document parse_fragments(std::string_view text);

/// One line that parses to the same expression.
std::string print(const Expr& expr);
std::string print(const Type& type);

/// Whether two fragments have the same parameters, results and body, whatever their spacing,
/// quotes, comments and the item types of their tensors.
bool same_meaning(const Fragment& a, const Fragment& b);

/// Quotes a string literal: 'it\'s'.
std::string quoted(std::string_view text);

/// Node::extra of an operator that is kept as it is (domain "nnef") is its invocation, in which
/// `$N` stands for input N of the node: `tract_core_erf($0)`. This puts identifiers in their place;
/// what stands in a string literal is left alone.
/// Errors  Fault::kFormat where N is no input.
std::string fill_invocation(std::string_view extra, std::span<const std::string> inputs);

}  // namespace espalier::nnef
