#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/report/paper.h"

namespace espalier {
namespace {

// What Markdown or the HTML below it would take for more than text.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '<') {
      result += "&lt;";
    } else if (c == '&') {
      result += "&amp;";
    } else {
      if (std::string_view("\\`*_{}[]|#>~").find(c) != std::string_view::npos) result += '\\';
      result += c;
    }
  }
  return result;
}

std::string line(const std::vector<std::string>& cells) {
  std::string out = "|";
  for (const std::string& text : cells) out += fmt::format(" {} |", escaped(text));
  return out + '\n';
}

std::string table_text(const PaperTable& table) {
  std::vector<std::string> titles;
  std::string rule = "|";
  for (const Column& column : table.columns) {
    titles.push_back(column.title);
    rule += right_aligned(column.unit) ? "--:|" : ":--|";
  }
  std::string out = line(titles) + rule + '\n';
  for (const auto& row : table.rows) out += line(row);
  for (const auto& row : table.total) out += line(row);
  if (!table.left_out.empty()) out += "\nLeft out:\n\n";
  for (const auto& row : table.left_out)
    out += fmt::format("- {}: {}\n", escaped(row.what), escaped(row.reason));
  return out;
}

std::string render(const Report& report, const RenderOptions&) {
  std::string out = "# " + escaped(report.title) + "\n";
  for (const std::string& text : report.head) out += '\n' + escaped(text) + '\n';
  for (const PaperTable& table : paper_tables(report)) {
    if (!table.title.empty()) out += "\n## " + escaped(table.title) + '\n';
    out += '\n' + table_text(table);
  }
  if (!report.verdicts.empty()) out += '\n';
  for (const Verdict& verdict : report.verdicts) {
    out += fmt::format("- **{}**: {}\n", escaped(printable(verdict.name)),
                       escaped(printable(verdict.text, 1000)));
  }
  for (const std::string& note : report.notes) out += '\n' + escaped(note) + '\n';
  return out;
}

}  // namespace

constinit const Renderer markdown_renderer{"markdown", "tables for a README or an issue", render};

}  // namespace espalier
