// RFC 4180: the tables with JSON's keys and bare values, an empty line between them.

#include <fmt/format.h>

#include <cmath>

#include "lib/base/error.h"
#include "lib/report/report.h"

namespace espalier {
namespace {

std::string quoted(const std::string& text) {
  // A leading =, +, - or @ would be a formula to a spreadsheet.
  const bool formula = !text.empty() && std::string_view("=+-@").find(text[0]) != std::string::npos;
  const std::string safe = formula ? "'" + text : text;
  if (safe.find_first_of(",\"\r\n") == std::string::npos) return safe;
  std::string result = "\"";
  for (const char c : safe) result.append(c == '"' ? "\"\"" : std::string(1, c));
  return result + '"';
}

std::string value_of(const Cell& cell) {
  if (const auto* number = std::get_if<double>(&cell))
    return std::isfinite(*number) ? fmt::format("{}", *number) : "";
  if (const auto* number = std::get_if<int64_t>(&cell)) return std::to_string(*number);
  if (std::holds_alternative<std::monostate>(cell)) return "";
  return quoted(format_cell(cell, Unit::kText));
}

// Every table that has a key, with the columns that have one; an empty line between tables.
std::string render(const Report& report, const RenderOptions&) {
  std::string out;
  for (const auto& part : report.parts) {
    const auto* table = std::get_if<Table>(&part);
    if (table == nullptr || table->key.empty()) continue;
    if (!out.empty()) out += "\r\n";
    std::string line;
    for (const Column& column : table->columns) {
      if (column.key.empty()) continue;
      if (!line.empty()) line += ',';
      line += column.key;
    }
    out += line + "\r\n";
    for (const auto& cells : table->rows) {
      bool first = true;
      for (size_t i = 0; i < cells.size(); ++i) {
        if (table->columns[i].key.empty()) continue;
        if (!first) out += ',';
        out += value_of(cells[i]);
        first = false;
      }
      out += "\r\n";
    }
  }
  return out;
}

}  // namespace

constinit const Renderer csv_renderer{"csv", "the tables, bare values", render};

}  // namespace espalier
