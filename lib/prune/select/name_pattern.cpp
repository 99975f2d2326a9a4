#include "lib/prune/select/name_pattern.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include "lib/base/error.h"

namespace espalier {

NamePattern::NamePattern(const std::string& pattern) {
  RE2::Options options;
  options.set_log_errors(false);
  expression_ = std::make_unique<RE2>(pattern, options);
  if (!expression_->ok()) {
    throw Error(Fault::kUsage, fmt::format("pattern \"{}\": {} (RE2 syntax)", printable(pattern),
                                           printable(expression_->error())));
  }
}

NamePattern::~NamePattern() = default;
NamePattern::NamePattern(NamePattern&&) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&&) noexcept = default;

bool NamePattern::found_in(std::string_view name) const {
  return RE2::PartialMatch(re2::StringPiece(name.data(), name.size()), *expression_);
}

}  // namespace espalier
