#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "formats/nnef/read/call.h"
#include "lib/base/limits.h"

namespace espalier::nnef {

/// Runs the assignments of a document, which makes its graph: literals, arrays and the like are
/// computed at once, operators become nodes, fragments are expanded.
class Evaluator {
 public:
  explicit Evaluator(Reading& reading);

  /// The results of a fragment whose parameters are these tensors, in a graph of its own: for
  /// translators that look at the body of a scan.
  std::vector<TensorRef> results_of(const Fragment& fragment, const std::vector<TensorRef>& inputs);

  /// Errors  Fault::kFormat with line:column: a name used before it is assigned, an argument that
  ///         does not fit, an operator that nobody declares; Fault::kUnsupported past the limits.
  Model run();

 private:
  struct Scope {
    std::unordered_map<std::string, EvalValue> names;
    std::string generic;
    std::string prefix;                  ///< of the names that values get; "" in the graph
    const Fragment* fragment = nullptr;  ///< null in the graph
    bool takes_new_symbols = false;
  };
  using Arguments = std::vector<std::pair<std::string, EvalValue>>;
  /// Fragments inside each other.
  static constexpr uint32_t kMaxCalls = limits::nnef_fragment_nesting;

  void refuse_array(const Expr& call, const EvalValue& results) const;
  static bool is_result(const std::string& name, const Scope& scope);
  void assign(const Expr& target, const EvalValue& value, Scope& scope);
  void run_body(const std::vector<Assignment>& body, Scope& scope);

  EvalValue eval(const Expr& expr, Scope& scope, const Expr* target = nullptr);
  EvalValue identifier(const Expr& expr, const Scope& scope);
  EvalValue list(const Expr& expr, Scope& scope, const Expr* target);
  EvalValue unary(const Expr& expr, Scope& scope);
  EvalValue binary(const Expr& expr, Scope& scope);
  EvalValue subscript(const Expr& expr, Scope& scope);
  EvalValue comprehension(const Expr& expr, Scope& scope);
  void set_loop_variable(const Expr& target, const EvalValue& value, Scope& scope);
  static void forget(const Expr& target, Scope& scope);
  EvalValue if_else(const Expr& expr, Scope& scope, const Expr* target);
  bool condition(const Expr& expr, Scope& scope);
  EvalValue call(const Expr& expr, Scope& scope, const Expr* target);
  EvalValue builtin(const Expr& expr, const Arguments& arguments);

  EvalValue operation(std::string_view name, std::vector<EvalValue> operands, const Expr& expr);
  EvalValue invoke(const Expr& expr, const std::string& generic, const Arguments& arguments,
                   const std::string& prefix, const Expr* target);
  std::vector<EvalValue> bind(const Fragment& declaration, const Arguments& arguments, Position at);
  EvalValue expand(const Fragment& fragment, const std::vector<EvalValue>& arguments,
                   const std::string& generic, const std::string& prefix, Position at);
  EvalValue keep(const Expr& expr, const std::string& generic, const Arguments& arguments,
                 const Fragment* declaration, const Expr* target);
  bool is_opaque(std::string_view name) const;

  EvalValue quantized(const std::string& name, const EvalValue& value);

  void keep_fragment(std::string_view name);
  std::string kept_text() const;

  Reading& reading_;
  bool is_tract_;
  std::set<std::string> symbols_;
  std::set<std::string> kept_fragments_;
  std::map<std::string_view, const Quantization*> quantization_;  ///< by tensor
  std::map<std::string, EvalValue> unquantized_;  ///< what quantized() was given, by name
  bool keeps_operators_ = false;
  uint32_t calls_ = 0, depth_ = 0;
};

}  // namespace espalier::nnef
