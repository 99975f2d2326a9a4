#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/nnef/language/document.h"
#include "formats/nnef/read/graph_builder.h"

namespace espalier::nnef {

/// What an expression gives while a document is read: everything but tensors is known then.
/// dimension: an extent that is free (`extension tract_symbol N;`), by its text.
/// Lists share their items, so that copying is cheap; they nest at most kMaxNesting deep.
struct EvalValue {
  enum class Kind : uint8_t {
    nothing,
    integer,
    scalar,
    logical,
    string,
    dimension,
    tensor,
    array,
    tuple,
  };
  static constexpr uint32_t kMaxNesting = 64;

  Kind kind = Kind::nothing;
  bool logical = false;
  bool from_primitive = false;  ///< an array of results of an operator without a body
  uint32_t nesting = 0;
  int64_t integer = 0;
  double scalar = 0;
  std::string text;
  TensorRef tensor;
  std::shared_ptr<const std::vector<EvalValue>> items;

  static EvalValue of_integer(int64_t value);
  static EvalValue of_scalar(double value);
  static EvalValue of_logical(bool value);
  static EvalValue of_string(std::string value);
  static EvalValue of_dimension(std::string text);
  static EvalValue of_tensor(TensorRef value);
  /// Errors  Fault::kFormat at `at` where it would nest too deep.
  static EvalValue of_list(Kind kind, std::vector<EvalValue> items, Position at);

  bool is_list() const { return kind == Kind::array || kind == Kind::tuple; }
  bool is_number() const { return kind == Kind::integer || kind == Kind::scalar; }
  double number() const { return kind == Kind::integer ? static_cast<double>(integer) : scalar; }
};

/// "an integer", "a tensor", ...: for errors.
std::string_view describe(EvalValue::Kind kind);

/// NNEF text of the value; a tensor is `$N` with N its place in `tensors`, appended where it is
/// new.
/// Errors  Fault::kUnsupported past 1 MiB.
std::string print(const EvalValue& value, std::vector<TensorRef>& tensors);

/// A number, or numbers nested in arrays ([[1.0, 2.0]]), as a constant of type `dtype`; kUnknown
/// means i64 where all are integers and f32 else. Null where the value is none of these.
ConstantPtr literal_constant(const EvalValue& value, DType dtype);

}  // namespace espalier::nnef
