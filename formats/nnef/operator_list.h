#pragma once

#include <string>
#include <vector>

namespace espalier::nnef {

/// How the writer spells one ONNX operator: names of NNEF operators with a blank between them.
struct WrittenOperator {
  std::string onnx, standard, tract;
  bool is_computed = false;  ///< over shapes while writing: nothing of it is left in the file
};
/// By name; from the writer's own table.
std::vector<WrittenOperator> written_operators();

/// What the reader makes of one NNEF operator.
struct ReadOperator {
  std::string nnef;
  bool is_standard = false;  ///< of NNEF itself, not of a registry of tract
  std::string onnx;          ///< nodes; empty: none of its own
  std::string body;          ///< what it is expanded to where it has no nodes (of its own)
};
/// By name; from the reader's own tables. One without nodes and body is kept as it is: an NNEF file
/// can be written again, an ONNX file cannot.
std::vector<ReadOperator> read_operators();

}  // namespace espalier::nnef
