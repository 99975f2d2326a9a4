#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

namespace espalier::nnef {

/// Hands out identifiers and labels, each once.
class Names {
 public:
  /// `wanted` with everything outside [A-Za-z0-9_] as '_', made different from keywords, from what
  /// stock parsers take for a literal (a name that starts with true, false or inf) and from every
  /// identifier given before (by a number at the end).
  std::string identifier(std::string_view wanted);

  /// `wanted` as the name of a file below the model's folder: `wanted` itself where its segments
  /// between slashes are plain names of printable ASCII, else with the offending bytes as '_' and
  /// empty, '.' and '..' segments left out. Different from every label given before; none is a
  /// folder that another needs as a file.
  std::string label(std::string_view wanted);

  /// A label such that `label + "/part"` is free for each of a packed weight's parts as well.
  std::string packed_label(std::string_view wanted);

 private:
  bool is_free(const std::string& label) const;
  void take(const std::string& label);
  /// The next of base_1, base_2, ...; without folders, so that no folder of `base` that another
  /// label has as a file stays in the way.
  std::string numbered(const std::string& base);

  std::set<std::string> identifiers_;
  std::map<std::string, size_t> identifier_numbers_, label_numbers_;
  std::set<std::string> files_, folders_;  // paths, lower case: some file systems know no other
};

}  // namespace espalier::nnef
