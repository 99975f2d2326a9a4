#include "lib/report/paper.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "lib/base/error.h"

namespace espalier {
namespace {

bool is_null(const Cell& cell) { return std::holds_alternative<std::monostate>(cell); }

// One line per reason, in order of appearance, with the first names.
std::vector<PaperTable::LeftOut> by_reason(const std::vector<PaperTable::LeftOut>& rows) {
  constexpr size_t kNames = 3;
  std::vector<std::string> reasons;
  std::map<std::string, std::vector<std::string>> names;
  for (const auto& row : rows) {
    if (!names.contains(row.reason)) reasons.push_back(row.reason);
    names[row.reason].push_back(row.what);
  }
  std::vector<PaperTable::LeftOut> result;
  for (const std::string& reason : reasons) {
    std::vector<std::string> list = names[reason];
    const size_t count = list.size();
    list.resize(std::min(count, kNames));
    std::string what = fmt::format("{}", fmt::join(list, ", "));
    if (count > kNames) what = fmt::format("{} weights: {}, ...", count, what);
    result.push_back({what, reason});
  }
  return result;
}

// Length of the UTF-8 sequence that starts with `lead`; printable() has let only valid ones pass.
size_t sequence_length(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

struct CodePoint {
  std::string_view bytes;
  size_t width;
};

std::vector<CodePoint> code_points(std::string_view text) {
  std::vector<CodePoint> result;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = std::min(sequence_length(lead), text.size() - i);
    // From U+1100 on in coarse steps: Hangul, CJK and full-width forms are three bytes E1 84 .. EF
    // BD, emoji four bytes F0 9F.
    const bool wide =
        (lead >= 0xE3 && lead <= 0xED && length == 3) || (lead == 0xF0 && length == 4);
    result.push_back({text.substr(i, length), wide ? size_t{2} : size_t{1}});
    i += length;
  }
  return result;
}

}  // namespace

PaperTable on_paper(const Table& table, size_t spread) {
  PaperTable result;
  result.title = table.title;
  result.source = &table;
  std::vector<size_t> shown;
  size_t reason = table.columns.size();
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (table.columns[i].unit == Unit::kReason) {
      reason = i;
    } else if (!table.columns[i].title.empty()) {
      shown.push_back(i);
      result.columns.push_back(table.columns[i]);
    }
  }
  result.column_places = shown;
  const auto texts = [&](const std::vector<Cell>& cells) {
    std::vector<std::string> row;
    for (const size_t i : shown) row.push_back(format_cell(cells[i], table.columns[i].unit));
    return row;
  };
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const auto& cells = table.rows[r];
    if (reason < cells.size() && !is_null(cells[reason])) {
      result.left_out.push_back({texts(cells).front(), format_cell(cells[reason], Unit::kReason)});
    } else {
      result.rows.push_back(texts(cells));
      result.row_places.push_back(r);
    }
  }
  if (result.left_out.size() > spread) result.left_out = by_reason(result.left_out);
  if (!table.total.empty()) {
    result.total.push_back(texts(table.total));
    for (size_t i = 0; i < shown.size(); ++i) {  // nothing to sum up is blank, not unmeasured
      if (is_null(table.total[shown[i]])) result.total[0][i].clear();
    }
  }
  return result;
}

std::vector<PaperTable> paper_tables(const Report& report) {
  std::vector<PaperTable> result;
  for (const auto& part : report.parts) {
    const auto* table = std::get_if<Table>(&part);
    if (table == nullptr) continue;
    PaperTable paper = on_paper(*table);
    if (paper.columns.empty() || (paper.rows.empty() && paper.left_out.empty())) continue;
    result.push_back(std::move(paper));
  }
  return result;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (const CodePoint& point : code_points(text)) width += point.width;
  return width;
}

std::string shortened(std::string_view text, size_t width) {
  if (display_width(text) <= width) return std::string(text);
  const std::vector<CodePoint> points = code_points(text);
  const size_t room = width > 0 ? width - 1 : 0;  // beside the ellipsis
  std::string front, back;
  size_t first = 0, last = points.size(), used = 0;
  while (first < last) {
    const bool to_front = first <= points.size() - last;
    const CodePoint& next = to_front ? points[first] : points[last - 1];
    if (used + next.width > room) break;
    used += next.width;
    if (to_front) {
      front += next.bytes;
      ++first;
    } else {
      back.insert(0, next.bytes);
      --last;
    }
  }
  return front + "…" + back;
}

std::vector<std::string> wrapped(std::string_view text, size_t width, size_t indent) {
  std::vector<std::string> lines;
  std::string line;
  const auto finish = [&] { lines.push_back(std::exchange(line, std::string(indent, ' '))); };
  const auto blank = [&] { return line.find_first_not_of(' ') == std::string::npos; };
  for (bool more = true; more;) {
    const size_t end = text.find(' ');
    more = end != std::string_view::npos;
    std::string_view word = text.substr(0, end);
    text.remove_prefix(more ? end + 1 : text.size());
    const size_t used = display_width(line) + (blank() ? 0 : 1);
    if (!blank() && used + display_width(word) > width) finish();
    if (!blank()) line += ' ';
    for (const CodePoint& point : code_points(word)) {
      if (!blank() && display_width(line) + point.width > width) finish();
      line += point.bytes;
    }
    if (word.empty() && more && blank()) line += ' ';  // blanks that the text begins with
  }
  lines.push_back(std::move(line));
  return lines;
}

std::string ascii_escaped(const std::string& text) {
  std::string result;
  for (const CodePoint& point : code_points(text)) {
    if (point.bytes.size() == 1 || point.bytes == "…") {
      result += point.bytes;
      continue;
    }
    const auto lead = static_cast<unsigned char>(point.bytes[0]);
    uint32_t code = lead & (0xFFU >> (point.bytes.size() + 1));
    for (const char byte : point.bytes.substr(1))
      code = code << 6 | (static_cast<unsigned char>(byte) & 0x3FU);
    result += code > 0xFFFF ? fmt::format("\\U{:08x}", code) : fmt::format("\\u{:04x}", code);
  }
  return result;
}

std::string_view mark(const Verdict& verdict) {
  return !verdict.ok ? "-" : *verdict.ok ? "ok" : "NOT ok";
}

}  // namespace espalier
