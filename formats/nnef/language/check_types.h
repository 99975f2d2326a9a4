#pragma once

#include "formats/nnef/language/document.h"

namespace espalier::nnef {

/// Whether the document is of tract's dialect: it has one of tract's extension lines, or the
/// properties that tract writes into every file. tract has no types: there, integers pass for
/// logicals, arrays of numbers for tensors, attributes without their names.
bool is_tract_dialect(const Document& document);

/// The rules that NNEF 1.0.5 has for a document as it stands, before anything is computed: what the
/// extensions allow, names defined once and before they are used, types of parameters, arguments,
/// operands and results, structure of what is assigned, inputs that are externals.
/// Errors  Fault::kFormat with line:column.
/// Source  NNEF 1.0.5, "Syntax" and "Semantics"; docs/formats/nnef-differences.md has the places
///         where Khronos' parser does otherwise.
void check_types(const Document& document);

}  // namespace espalier::nnef
