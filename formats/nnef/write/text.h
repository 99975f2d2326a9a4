#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/nnef/write/dim.h"
#include "formats/nnef/write/names.h"
#include "lib/tensor/dtype.h"

namespace espalier::nnef {

/// A tensor of the graph that is being written. `extents` is nothing where not even the rank is
/// known (behind an operator that espalier passes through).
struct Wire {
  std::string id;
  std::optional<Extents> extents;
  DType dtype = DType::kF32;
};

/// The body of the graph, one assignment per line, in order.
class GraphText {
 public:
  explicit GraphText(Names& names) : names_(names) {}

  /// `id = expression;`, or `( a, b ) = expression;` for several. Identifiers come from Names.
  void assign(std::span<const std::string> ids, std::string expression);
  /// The same for one result, as a wire.
  Wire assign(std::string id, std::string expression, std::optional<Extents> extents, DType dtype);
  std::string fresh(std::string_view wanted) { return names_.identifier(wanted); }
  /// Whom the assignments that follow belong to, for errors.
  void set_owner(std::string owner) { owner_ = std::move(owner); }

  /// The operators below give back their input where they change nothing, and undo an operator
  /// just like them before: NNEF readers see no pairs that cancel out. `id` is what a new
  /// assignment is called ("": made up from the input's).
  Wire transpose(const Wire& input, const std::vector<int64_t>& axes, std::string id = "");
  Wire unsqueeze(const Wire& input, const std::vector<int64_t>& axes, std::string id = "");
  Wire squeeze(const Wire& input, const std::vector<int64_t>& axes, std::string id = "");
  /// input[begin : end] along one axis, both in range.
  Wire slice(const Wire& input, int64_t axis, int64_t begin, int64_t end, std::string id = "");

  /// The assignments that `outputs` need, directly or not, and what they assign; inputs
  /// (`external`) always.
  struct Body {
    std::string text;
    std::set<std::string> ids;
    bool nests = false;  ///< whether an operator is an argument of another
    /// The first operator of tract's registry that is called, and its owner; or "".
    std::string tract_operator, tract_owner;
  };
  Body body(std::span<const std::string> outputs) const;

 private:
  struct Assignment {
    std::vector<std::string> ids;
    std::string expression;
    std::string owner;
  };
  /// How a wire came about, for those operators that cancel out.
  struct Origin {
    enum class Kind { transpose, unsqueeze, squeeze } kind;
    Wire input;
    std::vector<int64_t> axes;
  };
  const Origin* origin(const Wire& wire, Origin::Kind kind) const;
  std::string name_after(const Wire& input, std::string id, std::string_view suffix);

  Names& names_;
  std::string owner_;
  std::vector<Assignment> assignments_;
  std::map<std::string, Origin> origins_;
};

/// "[1, 2, 3]"
std::string list(std::span<const int64_t> values);
/// A literal that readers take for a scalar and that parses back to the same float.
/// Errors  Fault::kUnsupported for NaN and infinities, which NNEF has no literal for.
std::string literal(float value);

}  // namespace espalier::nnef
