// The box table on the terminal. A table that is too wide gives way in its widest text column
// first; where that is not enough, it goes on in further boxes that repeat its first column.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <type_traits>
#include <utility>

#include "lib/base/error.h"
#include "lib/report/labels.h"
#include "lib/report/paper.h"

namespace espalier {
namespace {

constexpr size_t kNarrowestLabel = 24, kNarrowestText = 16;  // of a shortened column

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

std::vector<size_t> full_widths(const PaperTable& table) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const auto [upper, lower] = two_lines(table.columns[i].title);
    widths.push_back(std::max(display_width(upper), display_width(lower)));
    for (const auto& row : table.rows) widths[i] = std::max(widths[i], display_width(row[i]));
    for (const auto& row : table.total) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  return widths;
}

// What a column must have: numbers all of theirs.
size_t least_width(const PaperTable& table, size_t column, size_t full) {
  if (table.columns[column].unit != Unit::kText) return full;
  return std::min(full, column == 0 ? kNarrowestLabel : kNarrowestText);
}

std::vector<size_t> column_widths(const PaperTable& table, size_t limit) {
  std::vector<size_t> widths = full_widths(table);
  while (inner_width(widths) + 2 > limit) {
    size_t widest = widths.size();
    for (size_t i = 0; i < widths.size(); ++i) {
      const bool gives_way = widths[i] > least_width(table, i, widths[i]);
      if (gives_way && (widest == widths.size() || widths[i] > widths[widest])) widest = i;
    }
    if (widest == widths.size()) break;
    --widths[widest];
  }
  return widths;
}

PaperTable with_columns(const PaperTable& table, const std::vector<size_t>& columns) {
  PaperTable result;
  const auto pick = [&](const auto& all) {
    std::decay_t<decltype(all)> some;
    for (const size_t i : columns) some.push_back(all[i]);
    return some;
  };
  result.columns = pick(table.columns);
  for (const auto& row : table.rows) result.rows.push_back(pick(row));
  for (const auto& row : table.total) result.total.push_back(pick(row));
  return result;
}

// The table in boxes that fit, each with the first column; reasons are in the last.
std::vector<PaperTable> in_boxes(const PaperTable& table, size_t limit) {
  const std::vector<size_t> full = full_widths(table);
  const auto least = [&](const std::vector<size_t>& columns) {
    std::vector<size_t> widths;
    for (const size_t i : columns) widths.push_back(least_width(table, i, full[i]));
    return inner_width(widths) + 2;
  };
  std::vector<PaperTable> boxes;
  std::vector<size_t> columns{0};
  for (size_t i = 1; i < table.columns.size(); ++i) {
    columns.push_back(i);
    if (columns.size() == 2 || least(columns) <= limit) continue;
    columns.pop_back();
    boxes.push_back(with_columns(table, columns));
    columns = {0, i};
  }
  boxes.push_back(with_columns(table, columns));
  boxes.back().left_out = table.left_out;
  return boxes;
}

// Rows stay told apart where their first column is too narrow for their names.
void fit_labels(PaperTable& table, size_t width) {
  std::vector<std::string> labels;
  for (const auto& row : table.rows) labels.push_back(row[0]);
  labels = fitting_labels(labels, width);
  for (size_t i = 0; i < labels.size(); ++i) table.rows[i][0] = labels[i];
}

class Box {
 public:
  Box(PaperTable table, size_t limit)
      : table_(std::move(table)), widths_(column_widths(table_, limit)) {
    // Reasons want some room too, even where the columns are few and narrow.
    size_t wanted = 0;
    for (const auto& row : table_.left_out)
      wanted = std::max(wanted, display_width(row.what + row.reason) + 4);
    while (inner_width(widths_) < wanted && inner_width(widths_) + 2 < limit) ++widths_.front();
    if (table_.columns[0].unit == Unit::kText) fit_labels(table_, widths_[0]);
  }

  // The table in a frame: titles of one or two lines, rows, totals, and below them what was left
  // out and why.
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
    std::vector<std::string> names;
    for (const auto& row : table_.left_out) names.push_back(row.what);
    names = fitting_labels(names, inner_width(widths_) - 3);
    for (size_t i = 0; i < names.size(); ++i)
      out += wide_lines(names[i] + ":", table_.left_out[i].reason);
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

  // "name: reason" across all columns, in two lines where one does not hold both.
  std::string wide_lines(const std::string& name, const std::string& reason) const {
    const size_t room = inner_width(widths_) - 2;
    const auto line = [&](const std::string& text) {
      return "│ " + padded(text, room, false) + " │\n";
    };
    if (display_width(name) + 1 + display_width(reason) <= room) return line(name + " " + reason);
    std::string out = line(name);
    for (const std::string& part : wrapped(reason, room - 2, 0)) out += line("  " + part);
    return out;
  }

  PaperTable table_;
  std::vector<size_t> widths_;
};

void to_ascii(PaperTable& table) {
  for (auto* rows : {&table.rows, &table.total}) {
    for (auto& row : *rows) std::ranges::transform(row, row.begin(), ascii_escaped);
  }
  for (auto& row : table.left_out) row = {ascii_escaped(row.what), ascii_escaped(row.reason)};
}

// Frames and ellipses, each as one character.
std::string ascii_frames(std::string text) {
  static constexpr std::array<std::pair<std::string_view, char>, 12> kFrames{{{"─", '-'},
                                                                              {"│", '|'},
                                                                              {"┌", '+'},
                                                                              {"┬", '+'},
                                                                              {"┐", '+'},
                                                                              {"├", '+'},
                                                                              {"┼", '+'},
                                                                              {"┤", '+'},
                                                                              {"└", '+'},
                                                                              {"┴", '+'},
                                                                              {"┘", '+'},
                                                                              {"…", '~'}}};
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const auto here = std::string_view(text).substr(i);
    const auto frame = std::ranges::find_if(
        kFrames, [&](const auto& entry) { return here.starts_with(entry.first); });
    result += frame == kFrames.end() ? text[i] : frame->second;
    i += frame == kFrames.end() ? 1 : frame->first.size();
  }
  return result;
}

// Head, tables in boxes as wide as the terminal, verdicts and notes; lines are wrapped, and frames
// drawn in ASCII, where the options ask for it.
std::string render(const Report& report, const RenderOptions& options) {
  std::string out;
  const auto add_line = [&](const std::string& line, size_t indent) {
    const std::string text = options.ascii ? ascii_escaped(line) : line;
    if (!options.wrap) {
      out += text + '\n';
      return;
    }
    for (const std::string& part : wrapped(text, options.width, indent)) out += part + '\n';
  };
  for (const std::string& line : report.head) add_line(line, 2);
  for (PaperTable& table : paper_tables(report)) {
    if (!table.title.empty()) {
      out += '\n';
      add_line(table.title, 0);
    }
    if (options.ascii) to_ascii(table);
    for (PaperTable& box : in_boxes(table, options.width))
      out += Box(std::move(box), options.width).draw();
  }
  for (const Verdict& verdict : report.verdicts) {
    add_line(fmt::format("{:<9} {}", printable(verdict.name) + ":", printable(verdict.text, 1000)),
             10);
  }
  for (const std::string& note : report.notes) add_line(note, 0);
  return options.ascii ? ascii_frames(std::move(out)) : out;
}

}  // namespace

constinit const Renderer text_renderer{"text", "box tables for a terminal", render};

}  // namespace espalier
