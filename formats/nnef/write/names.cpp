#include "formats/nnef/write/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace espalier::nnef {
namespace {

constexpr std::array<std::string_view, 26> kKeywords{
    "version", "extension", "graph",      "fragment",  "tensor",   "integer", "scalar",
    "logical", "string",    "for",        "in",        "if",       "else",    "yield",
    "true",    "false",     "shape_of",   "length_of", "range_of", "shapeof", "lengthof",
    "rangeof", "inf",       "tract_core", "complex",   "copy_n"};

constexpr size_t kMaxIdentifier = 120;
constexpr size_t kMaxSegment = 120;  // of a path; file systems stop at 255 bytes
constexpr size_t kMaxLabel = 180;    // with folder and ending still short for every archive

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

// tract's parser tries literals before identifiers and takes the longest prefix that is one.
bool looks_like_literal(std::string_view text) {
  return text.starts_with("true") || text.starts_with("false") || text.starts_with("inf") ||
         is_digit(text.front());
}

std::string word(std::string_view wanted) {
  std::string out;
  for (const char c : wanted.substr(0, kMaxIdentifier)) out += is_word(c) ? c : '_';
  if (out.empty()) return "_";
  if (looks_like_literal(out) || std::ranges::find(kKeywords, out) != kKeywords.end()) {
    out.insert(0, 1, '_');
  }
  return out;
}

// Bytes that no shell, archive or template engine of a reader stumbles over.
bool is_safe(char c) {
  return is_word(c) || std::string_view(" .-+:=,@~()[]!&^$%").find(c) != std::string_view::npos;
}

std::string safe_path(std::string_view wanted) {
  std::string out;
  while (!wanted.empty()) {
    const std::string_view segment = wanted.substr(0, wanted.find('/'));
    wanted.remove_prefix(std::min(wanted.size(), segment.size() + 1));
    std::string clean;
    for (const char c : segment.substr(0, kMaxSegment)) clean += is_safe(c) ? c : '_';
    while (!clean.empty() && (clean.back() == ' ' || clean.back() == '.')) clean.pop_back();
    while (!clean.empty() && clean.front() == ' ') clean.erase(0, 1);
    if (clean.empty()) continue;
    out += (out.empty() ? "" : "/") + clean;
  }
  out.resize(std::min(out.size(), kMaxLabel));
  while (!out.empty() && (out.back() == '/' || out.back() == ' ' || out.back() == '.')) {
    out.pop_back();
  }
  return out.empty() ? "_" : out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string file_of(std::string_view label) { return lower(label) + ".dat"; }

// The folders above a path: "a", "a/b" for "a/b/c".
template <typename Visit>
void for_each_folder(std::string_view path, const Visit& visit) {
  for (size_t slash = path.find('/'); slash != std::string_view::npos;
       slash = path.find('/', slash + 1)) {
    visit(std::string(path.substr(0, slash)));
  }
}

}  // namespace

std::string Names::identifier(std::string_view wanted) {
  const std::string base = word(wanted);
  std::string result = base;
  while (!identifiers_.insert(result).second) {
    result = fmt::format("{}_{}", base, ++identifier_numbers_[base]);
  }
  return result;
}

bool Names::is_free(const std::string& label) const {
  const std::string file = file_of(label);
  if (files_.contains(file) || folders_.contains(file)) return false;
  bool free = true;
  for_each_folder(file, [&](const std::string& folder) {
    free = free && !files_.contains(folder) && folder != "graph.nnef";
  });
  return free;
}

void Names::take(const std::string& label) {
  files_.insert(file_of(label));
  for_each_folder(file_of(label), [&](const std::string& folder) { folders_.insert(folder); });
}

std::string Names::numbered(const std::string& base) {
  std::string result = fmt::format("{}_{}", base, ++label_numbers_[base]);
  std::ranges::replace(result, '/', '_');
  return result;
}

std::string Names::label(std::string_view wanted) {
  const std::string base = safe_path(wanted);
  std::string result = base;
  while (!is_free(result)) result = numbered(base);
  take(result);
  return result;
}

std::string Names::packed_label(std::string_view wanted) {
  constexpr std::array<std::string_view, 6> kParts{"values",  "index", "diag",
                                                   "offsets", "scale", "mask"};
  const std::string base = safe_path(wanted);
  std::string result = base;
  const auto is_taken = [&](std::string_view part) {
    return !is_free(fmt::format("{}/{}", result, part));
  };
  while (std::ranges::any_of(kParts, is_taken)) result = numbered(base);
  for (const std::string_view part : kParts) take(fmt::format("{}/{}", result, part));
  return result;
}

}  // namespace espalier::nnef
