#include "lib/base/error.h"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

namespace espalier {
namespace {

// Length of the well-formed UTF-8 sequence at the start of `text`, 0 where there is none (Unicode
// 15, table 3-7, without the narrower second-byte ranges of E0, ED, F0 and F4, which no terminal
// acts on).
size_t utf8_length(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  size_t length = 0;
  if (lead < 0x80) {
    length = 1;
  } else if (lead >= 0xC2 && lead < 0xE0) {
    length = 2;
  } else if (lead >= 0xE0 && lead < 0xF0) {
    length = 3;
  } else if (lead >= 0xF0 && lead < 0xF5) {
    length = 4;
  }
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) return 0;
  }
  return length;
}

// C0 controls, DEL and the C1 controls U+0080 to U+009F.
bool is_control(std::string_view sequence) {
  const auto lead = static_cast<uint8_t>(sequence[0]);
  return lead < 0x20 || lead == 0x7F || (lead == 0xC2 && static_cast<uint8_t>(sequence[1]) < 0xA0);
}

}  // namespace

Error::Error(Fault fault, std::string text) : fault_(fault), text_(std::move(text)) {}

void Error::add_context(std::string_view context) { text_ = fmt::format("{}: {}", context, text_); }

std::string printable(std::string_view text, size_t limit) {
  std::string result;
  while (!text.empty()) {
    if (result.size() >= limit) return result + "...";
    const size_t length = utf8_length(text);
    if (length == 0 || is_control(text.substr(0, length))) {
      result += fmt::format("\\x{:02x}", static_cast<uint8_t>(text[0]));
      text.remove_prefix(1);
    } else {
      result += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return result;
}

}  // namespace espalier
