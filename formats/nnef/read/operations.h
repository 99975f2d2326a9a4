#pragma once

#include <string>

#include "formats/nnef/read/call.h"

namespace espalier::nnef {

/// The operator `expr.text` on two values that are no tensors: arithmetic and comparisons of
/// numbers, formulas over free dimensions, `+`, `*` and `in` on arrays and strings.
/// Errors  Fault::kFormat with line:column: operands that the operator does not have, integers past
///         64 bits, division by 0; Fault::kUnsupported past the budget.
EvalValue binary_operation(const Expr& expr, const EvalValue& a, const EvalValue& b,
                           Budget& budget);

/// -value of an integer or a scalar.
EvalValue negative(const Expr& expr, EvalValue value);

/// The integer or scalar that the text of a number stands for.
EvalValue number_literal(const Expr& expr);

/// integer('12'), scalar('-0.5'): `expr` is the conversion, `text` its argument.
EvalValue number_of_text(const Expr& expr, const std::string& text);

/// Errors  always: Fault::kFormat, the operator does not take these operands.
[[noreturn]] void no_operation(const Expr& expr, const EvalValue& a, const EvalValue& b);

}  // namespace espalier::nnef
