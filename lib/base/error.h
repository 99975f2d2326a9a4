#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace espalier {

/// What went wrong outside of the program: wrong options, a broken or missing file, something not
/// supported.
enum class Fault { kUsage, kFormat, kUnsupported };

/// An error of the world outside (a file, an option, a missing feature); a bug is ESPALIER_CHECK
/// instead. The text grows outward: whoever knows more adds it in front (archive: file: part:
/// what).
class Error : public std::exception {
 public:
  Error(Fault fault, std::string text);

  /// Puts "context: " in front of the text.
  void add_context(std::string_view context);

  Fault fault() const { return fault_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  Fault fault_;
  std::string text_;
};

/// `text` with control bytes and broken UTF-8 as \xNN, at most `limit` bytes: what comes from a
/// file is never sent to a terminal as it is.
std::string printable(std::string_view text, size_t limit = 200);

}  // namespace espalier
