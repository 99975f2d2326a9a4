#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/format.h"
#include "lib/ir/model.h"

namespace espalier::nnef {

/// How packed weights are spelled (docs/formats/sparse-nnef.md); the first is the default.
constexpr std::array<std::string_view, 5> kProfiles{"tract", "portable", "operator", "opaque",
                                                    "dense"};

/// A variable of the written graph; `make` computes its elements when the writer gets to it, so
/// that no two decoded weights are held at a time; it looks at the model that was spelled.
struct Variable {
  std::string label;  ///< file LABEL.dat; safe as a path, see Names::label
  std::function<Tensor()> make;
};

struct Spelled {
  std::string graph;  ///< graph.nnef
  std::vector<Variable> variables;
};

/// The model in NNEF as stock tract 0.23.9 takes it (docs/formats/sparse-nnef.md).
///
/// Free dimensions  stay free (`tract_symbol`), but for inputs that options.shapes binds.
/// Errors  Fault::kUnsupported with operator and node: what NNEF cannot spell; with the weight: a
///         type that tensor files do not have. Fault::kUsage: an unknown profile or index, a shape
///         for no input.
Spelled spell(const Model& model, const WriteOptions& options);

/// Writes what spell() gives to a folder, a .tar or a .tgz by the ending of `path`; nothing is
/// written where it fails, or where `accept` says no (then it returns false).
bool write_nnef(const Model& model, const std::filesystem::path& path, const WriteOptions& options,
                const AcceptOutput& accept);

}  // namespace espalier::nnef
