#pragma once

namespace espalier {

/// Prints the condition and its place, then ends the program. Never returns.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace espalier

/// A condition that only a bug in espalier can break; on in every build. What a file can break is
/// an Error.
#define ESPALIER_CHECK(condition)                      \
  (static_cast<bool>(condition) ? static_cast<void>(0) \
                                : ::espalier::check_failed(#condition, __FILE__, __LINE__))
