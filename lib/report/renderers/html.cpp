// One page that needs nothing besides it: styles, scripts and data are in it, and its policy lets it load nothing.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/report/page/assets.h"
#include "lib/report/paper.h"

namespace espalier {
namespace {

using Json = nlohmann::ordered_json;

// Text for HTML: < > & and quotes escaped.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '&':
        result += "&amp;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// What the titles of columns mean, by key.
std::string_view help_of(std::string_view key) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kHelp{
      {{"weight", "name of the tensor in the input file; --layer, --exclude and --force match it"},
       {"node", "the operator that reads the weight"},
       {"shape", "of the tensor, in the file's order of axes"},
       {"zeros", "share of the weights that are zero; a diagonal kept apart is not counted"},
       {"bytes_before", "what the weight takes in the input"},
       {"bytes_after", "what it takes in the output"},
       {"output_error",
        "relative error of the output of the layer alone, on inputs of the dense "
        "model"},
       {"magnitude_error", "the same where plain magnitude had chosen as many blocks"},
       {"ms_dense", "median time of the layer with dense weights"},
       {"ms_sparse", "median time of the layer with packed weights"},
       {"break_even", "share of zeros from which on packed is faster than dense"},
       {"worth", "at least 1.25 times as fast at 80 % zeros"},
       {"ms_packed_80", "time with 80 % of the blocks dropped"},
       {"ms_packed_90", "time with 90 % of the blocks dropped"},
       {"sparsity", "share of the weights that was asked for"},
       {"magnitude", "the metric where plain magnitude had chosen the blocks"},
       {"pareto", "no other point is at least as good in error, time and bytes, and better in one"},
       {"speedup", "time of the dense model over that of the point"}}};
  const auto found = std::ranges::find(kHelp, key, [](const auto& entry) { return entry.first; });
  return found == kHelp.end() ? std::string_view() : found->second;
}

std::optional<double> number(const Cell& cell) {
  std::optional<double> value;
  if (const auto* real = std::get_if<double>(&cell)) value = *real;
  if (const auto* whole = std::get_if<int64_t>(&cell)) value = static_cast<double>(*whole);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

// Columns whose numbers are drawn as bars, and of what color; next to each other on one scale where
// `group` is the same. Where more is worse there is no bar, but for what is a cost.
struct BarStyle {
  std::string_view key, group, color;
};
constexpr std::array<BarStyle, 9> kBars{{{"zeros", "share", "--bar"},
                                         {"share", "share", "--bar"},
                                         {"output_error", "error", "--cost"},
                                         {"magnitude_error", "error", "--cost"},
                                         {"ms_dense", "ms", "--cost"},
                                         {"ms_sparse", "ms", "--cost"},
                                         {"bytes_before", "bytes", "--cost"},
                                         {"bytes_after", "bytes", "--cost"},
                                         {"speedup", "speedup", "--bar"}}};

const BarStyle* bar_of(std::string_view key) {
  const auto found = std::ranges::find(kBars, key, &BarStyle::key);
  return found == kBars.end() ? nullptr : &*found;
}

// The longest bar of each group.
std::map<std::string_view, double> bar_scales(const PaperTable& table) {
  std::map<std::string_view, double> scales{{"share", 1}};
  for (const size_t column : table.column_places) {
    const BarStyle* style = bar_of(table.source->columns[column].key);
    if (style == nullptr || style->group == "share") continue;
    for (const size_t row : table.row_places)
      scales[style->group] =
          std::max(scales[style->group], number(table.source->rows[row][column]).value_or(0));
  }
  return scales;
}

std::string bar_html(const Column& column, const Cell& cell,
                     const std::map<std::string_view, double>& scales) {
  const BarStyle* style = bar_of(column.key);
  const std::optional<double> value = number(cell);
  if (style == nullptr || !value || scales.at(style->group) <= 0) return "";
  const double percent = std::clamp(100 * *value / scales.at(style->group), 0.0, 100.0);
  return fmt::format(
      " style=\"background-image:linear-gradient(90deg,var({0}) {1:.1f}%,transparent {1:.1f}%)\"",
      style->color, percent);
}

// Columns of characters for a terminal have a blank for a title: the page has bars.
bool is_for_terminals(const Column& column) {
  return column.title.find_first_not_of(' ') == std::string::npos;
}

std::string cell_html(const Column& column, const std::string& text, const Cell* cell, bool first,
                      const std::map<std::string_view, double>& scales) {
  if (is_for_terminals(column)) return "";
  const std::string bar = cell == nullptr ? "" : bar_html(column, *cell, scales);
  const std::string_view kind = right_aligned(column.unit) ? "number" : first ? "name" : "";
  const std::optional<double> value = cell == nullptr ? std::nullopt : number(*cell);
  return fmt::format("<td class=\"{}{}\"{}{}>{}</td>", kind, bar.empty() ? "" : " bar",
                     value ? fmt::format(" data-value=\"{}\"", *value) : "", bar, escaped(text));
}

// Columns of the file alone, as a row's tooltip: "node GRU_4, operator GRU, matrix 576x192".
std::string details(const Table& table, const std::vector<Cell>& row) {
  std::string text;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const Column& column = table.columns[i];
    const bool told = !column.title.empty() || column.key.empty() || column.key == "name" ||
                      column.key == "sha256" || std::holds_alternative<std::monostate>(row[i]);
    if (!told)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", column.key,
                          format_cell(row[i], column.unit));
  }
  return text;
}

std::string head_html(const Column& column) {
  if (is_for_terminals(column)) return "";
  const std::string_view help = help_of(column.key);
  return fmt::format("<th scope=\"col\" class=\"{}\"{}><button type=\"button\">{}</button></th>",
                     right_aligned(column.unit) ? "number" : "",
                     help.empty() ? "" : fmt::format(" title=\"{}\"", escaped(help)),
                     escaped(column.title));
}

// A table that sorts, in a frame that scrolls and that the keyboard reaches.
std::string table_html(const PaperTable& table) {
  const std::string title = table.title.empty() ? "results" : table.title;
  std::string out = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table "
      "class=\"sorts\">\n<thead><tr>",
      escaped(title));
  for (const Column& column : table.columns) out += head_html(column);
  out += "</tr></thead>\n<tbody>\n";
  const auto scales = bar_scales(table);
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const std::vector<Cell>& cells = table.source->rows[table.row_places[r]];
    const std::string tip = details(*table.source, cells);
    out += fmt::format("<tr{}{}>",
                       table.source->chosen == table.row_places[r] ? " class=\"chosen\"" : "",
                       tip.empty() ? "" : fmt::format(" title=\"{}\"", escaped(tip)));
    for (size_t i = 0; i < table.columns.size(); ++i)
      out += cell_html(table.columns[i], table.rows[r][i], &cells[table.column_places[i]], i == 0,
                       scales);
    out += "</tr>\n";
  }
  for (const auto& row : table.total) {
    out += "<tr class=\"total\">";
    for (size_t i = 0; i < row.size(); ++i)
      out += cell_html(table.columns[i], row[i], nullptr, i == 0, scales);
    out += "</tr>\n";
  }
  for (const auto& row : table.left_out) {
    out += fmt::format(
        "<tr class=\"left\"><td class=\"name\">{}</td><td colspan=\"{}\">left out: {}</td></tr>\n",
        escaped(row.what), std::max<size_t>(1, table.columns.size() - 1), escaped(row.reason));
  }
  return out + "</tbody></table></div>\n";
}

std::string cards_html(const Report& report) {
  if (report.verdicts.empty()) return "";
  std::string out = "<ul class=\"cards\">\n";
  for (const Verdict& verdict : report.verdicts) {
    const std::string_view kind = !verdict.ok ? "" : *verdict.ok ? " good" : " bad";
    out += fmt::format("<li class=\"card{}\"><div class=\"what\">{}</div>", kind,
                       escaped(printable(verdict.name)));
    if (!verdict.figure.empty())
      out += fmt::format("<div class=\"figure\">{}</div>", escaped(printable(verdict.figure)));
    out +=
        fmt::format("<div class=\"text\">{}</div></li>\n", escaped(printable(verdict.text, 1000)));
  }
  return out + "</ul>\n";
}

std::string about_html(const Report& report) {
  if (report.about.empty()) return "";
  std::string out = "<dl class=\"run\">\n";
  for (const auto& [name, text] : report.about) {
    const std::string shown = escaped(printable(text, 4096));
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escaped(name),
                       name == "command" ? "<code>" + shown + "</code>" : shown);
  }
  return out + "</dl>\n";
}

// Frames of the charts that belong above a table; page.js draws in them.
std::string charts_html(const Report& report, const std::string& table) {
  std::string out;
  for (size_t i = 0; i < report.charts.size(); ++i) {
    const Chart& chart = report.charts[i];
    if (chart.table != table || chart.series.empty() || chart.x.size() < 2) continue;
    out += fmt::format(
        "<figure data-chart=\"{}\"><figcaption>{}</figcaption><div class=\"plot\"></div><p "
        "class=\"how\">The table below has these numbers.</p></figure>\n",
        i, escaped(printable(chart.title)));
  }
  return out.empty() ? "" : "<div class=\"charts\">\n" + out + "</div>\n";
}

std::string masks_html(const Report& report) {
  if (report.masks.empty()) return "";
  std::string out =
      "<h2>Masks</h2>\n<p class=\"note legend\">Outputs from top to bottom, inputs from left to "
      "right; <i style=\"background:var(--c0)\"></i>kept, <i "
      "style=\"background:var(--page)\"></i>dropped, <i "
      "style=\"background:var(--bad)\"></i>border between gates or groups, <i "
      "style=\"background:var(--c1)\"></i>diagonal kept apart. A click enlarges.</p>\n<div "
      "class=\"masks\">\n";
  for (size_t i = 0; i < report.masks.size(); ++i) {
    const MaskPicture& mask = report.masks[i];
    out += fmt::format(
        "<button type=\"button\" class=\"mask\" data-mask=\"{}\"><canvas role=\"img\" "
        "aria-label=\"kept blocks\"></canvas><span>{}</span><span "
        "class=\"soft\">{}</span></button>\n",
        i, escaped(printable(mask.name, 200)), escaped(mask.about));
  }
  return out +
         "</div>\n<dialog aria-labelledby=\"mask-name\"><div class=\"row\"><div><h2 "
         "id=\"mask-name\"> </h2><p class=\"note about\"></p></div><button "
         "type=\"button\">Close</button></div><div class=\"pane\" tabindex=\"0\" role=\"region\" "
         "aria-label=\"enlarged mask\"><canvas role=\"img\" aria-label=\"kept "
         "blocks\"></canvas></div></dialog>\n";
}

std::string_view unit_name(Unit unit) {
  switch (unit) {
    case Unit::kShare:
      return "share";
    case Unit::kBytes:
      return "bytes";
    case Unit::kMilliseconds:
      return "ms";
    default:
      return "number";
  }
}

Json finite(std::optional<double> value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

Json json_of(const Chart& chart) {
  Json series = Json::array();
  for (const Series& s : chart.series) {
    Json values = Json::array();
    for (const auto& value : s.values) values.push_back(finite(value));
    series.push_back({{"label", printable(s.label)},
                      {"unit", unit_name(s.unit)},
                      {"values", std::move(values)},
                      {"right", s.right},
                      {"line", s.line},
                      {"fits", s.fits},
                      {"big", s.big}});
  }
  return {{"title", printable(chart.title)},     {"x_label", chart.x_label},
          {"y_label", printable(chart.y_label)}, {"right_label", chart.right_label},
          {"x_unit", unit_name(chart.x_unit)},   {"x", chart.x},
          {"series", std::move(series)},         {"labels", chart.labels},
          {"limit", finite(chart.limit)},        {"limit_label", chart.limit_label},
          {"chosen", finite(chart.chosen)}};
}

Json json_of(const MaskPicture& mask) {
  return {{"name", printable(mask.name, 200)},
          {"about", mask.about},
          {"rows", mask.rows},
          {"cols", mask.cols},
          {"block", {mask.cell_rows, mask.cell_cols}},
          {"parts", mask.parts},
          {"diagonal", mask.diagonal},
          {"cells", mask.cells}};
}

// What page.js draws, as JSON that no element ends early.
std::string data_json(const Report& report) {
  Json data{{"charts", Json::array()}, {"masks", Json::array()}};
  for (const Chart& chart : report.charts) data["charts"].push_back(json_of(chart));
  for (const MaskPicture& mask : report.masks) data["masks"].push_back(json_of(mask));
  std::string text = data.dump(-1, ' ', true, Json::error_handler_t::replace);
  for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 6))
    text.replace(at, 1, "\\u003c");
  return text;
}

std::string scripts_html(const Report& report) {
  return fmt::format(
      "<script type=\"application/json\" "
      "id=\"data\">{}</script>\n<script>/*\nuPlot\n{}*/\n{}</script>\n"
      "<script>\n{}</script>\n",
      data_json(report), uplot_licence, uplot_script, page_script);
}

std::string render(const Report& report, const RenderOptions&) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta "
      "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src "
      "'unsafe-inline'\">\n<title>{0}</title>\n<style>{1}\n{2}</style>\n"
      "</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
      escaped(report.title), uplot_style, page_style);
  for (const std::string& line : report.head)
    out += fmt::format("<p class=\"head\">{}</p>\n", escaped(line));
  out += about_html(report) + cards_html(report) + charts_html(report, "");
  for (const PaperTable& table : paper_tables(report)) {
    if (!table.title.empty()) out += fmt::format("<h2>{}</h2>\n", escaped(table.title));
    out += charts_html(report, table.source->key);
    out += table_html(table);
  }
  out += masks_html(report);
  for (const std::string& note : report.notes)
    out += fmt::format("<p class=\"note\">{}</p>\n", escaped(note));
  return out + "</main>\n" + scripts_html(report) + "</body>\n</html>\n";
}

}  // namespace

constinit const Renderer html_renderer{"html", "one self-contained page", render};

}  // namespace espalier
