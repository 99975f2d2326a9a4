#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace espalier {

/// A regular expression (RE2 syntax) that is searched in weight names.
class NamePattern {
 public:
  /// Errors  Fault::kUsage naming the pattern and what is wrong with it.
  explicit NamePattern(const std::string& pattern);
  ~NamePattern();
  NamePattern(NamePattern&&) noexcept;
  NamePattern& operator=(NamePattern&&) noexcept;

  bool found_in(std::string_view name) const;

 private:
  std::unique_ptr<re2::RE2> expression_;
};

}  // namespace espalier
