// The box table on the terminal. A table that is too wide gives way in its widest text column
// first.

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "lib/base/error.h"
#include "lib/report/paper.h"

namespace espalier {
namespace {

constexpr size_t kNarrowest = 10;  // of a shortened text column

std::string repeated(std::string_view piece, size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i) result += piece;
  return result;
}

std::string padded(std::string_view text, size_t width, bool right) {
  const std::string cut = shortened(text, width);
  const std::string fill(width - std::min(width, display_width(cut)), ' ');
  return right ? fill + cut : cut + fill;
}

// Width of the lines between the outer frame, with a blank on each side of a cell.
size_t inner_width(const std::vector<size_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), 3 * widths.size() - 1);
}

// A title in two lines, split at the blank nearest to its middle; the first line is empty where
// there is no blank.
std::pair<std::string, std::string> two_lines(const std::string& title) {
  size_t best = std::string::npos;
  for (size_t i = title.find(' '); i != std::string::npos; i = title.find(' ', i + 1)) {
    const auto off = [&](size_t at) { return std::max(at, title.size() - at); };
    if (best == std::string::npos || off(i) < off(best)) best = i;
  }
  if (best == std::string::npos) return {"", title};
  return {title.substr(0, best), title.substr(best + 1)};
}

std::vector<size_t> column_widths(const PaperTable& table, size_t limit) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const auto [upper, lower] = two_lines(table.columns[i].title);
    widths.push_back(std::max(display_width(upper), display_width(lower)));
    for (const auto& row : table.rows) widths[i] = std::max(widths[i], display_width(row[i]));
    for (const auto& row : table.total) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  while (inner_width(widths) + 2 > limit) {
    size_t widest = widths.size();
    for (size_t i = 0; i < widths.size(); ++i) {
      const bool text = table.columns[i].unit == Unit::kText;
      if (text && widths[i] > kNarrowest && (widest == widths.size() || widths[i] > widths[widest]))
        widest = i;
    }
    if (widest == widths.size()) break;
    --widths[widest];
  }
  return widths;
}

class Box {
 public:
  Box(const PaperTable& table, size_t limit) : table_(table), widths_(column_widths(table, limit)) {
    // Reasons want some room too, even where the columns are few and narrow.
    size_t wanted = 0;
    for (const auto& row : table.left_out)
      wanted = std::max(wanted, display_width(row.what + row.reason) + 4);
    while (inner_width(widths_) < wanted && inner_width(widths_) + 2 < limit) ++widths_.front();
  }

  std::string draw() const {
    std::string out = rule("┌", "┬", "┐");
    std::vector<std::string> upper, lower;
    for (const Column& column : table_.columns) {
      const auto [first, second] = two_lines(column.title);
      upper.push_back(first);
      lower.push_back(second);
    }
    if (std::ranges::any_of(upper, [](const std::string& t) { return !t.empty(); }))
      out += line(upper);
    out += line(lower);
    out += rule("├", "┼", "┤");
    for (const auto& row : table_.rows) out += line(row);
    for (const auto& row : table_.total) {
      if (!table_.rows.empty()) out += rule("├", "┼", "┤");
      out += line(row);
    }
    if (table_.left_out.empty()) return out + rule("└", "┴", "┘");
    out += rule("├", "┴", "┤");
    for (const auto& row : table_.left_out) out += wide_line(row);
    return out + rule("└", "─", "┘");
  }

 private:
  std::string rule(std::string_view left, std::string_view middle, std::string_view right) const {
    std::string out(left);
    for (size_t i = 0; i < widths_.size(); ++i) {
      if (i != 0) out += middle;
      out += repeated("─", widths_[i] + 2);
    }
    return out.append(right) + '\n';
  }

  std::string line(const std::vector<std::string>& cells) const {
    std::string out = "│";
    for (size_t i = 0; i < widths_.size(); ++i) {
      out += ' ' + padded(cells[i], widths_[i], right_aligned(table_.columns[i].unit)) + " │";
    }
    return out + '\n';
  }

  // "name: reason" across all columns, the name giving way first.
  std::string wide_line(const PaperTable::LeftOut& row) const {
    const size_t room = inner_width(widths_) - 2;
    const std::string reason = shortened(row.reason, room - std::min(room, kNarrowest + 2));
    const size_t rest = room - std::min(room, display_width(reason) + 2);
    return "│ " + padded(shortened(row.what, rest) + ": " + reason, room, false) + " │\n";
  }

  const PaperTable& table_;
  std::vector<size_t> widths_;
};

std::string render(const Report& report, const RenderOptions& options) {
  std::string out;
  for (const std::string& line : report.head) out += line + '\n';
  for (const PaperTable& table : paper_tables(report)) {
    if (!table.title.empty()) out += '\n' + table.title + '\n';
    out += Box(table, options.width).draw();
  }
  for (const Verdict& verdict : report.verdicts) {
    out += fmt::format("{:<9} {}\n", printable(verdict.name) + ":", printable(verdict.text, 1000));
  }
  for (const std::string& note : report.notes) out += note + '\n';
  return out;
}

}  // namespace

constinit const Renderer text_renderer{"text", "box tables for a terminal", render};

}  // namespace espalier
