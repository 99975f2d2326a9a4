// One page that needs nothing beside it: no script, no font, no picture from elsewhere.

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/report/paper.h"
#include "lib/report/plot.h"

namespace espalier {
namespace {

constexpr std::string_view kStyle = R"css(
:root { color-scheme: light dark; --ink: #1c2321; --soft: #5b6763; --line: #d9dfdc; --page: #fbfcfb; --card: #fff;
  --good: #1b7f4d; --bad: #b3261e; --bar: #cfe6d9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9e6; --soft: #9aa8a2; --line: #333c38; --page: #161a18; --card: #1d2320;
  --good: #5fc794; --bad: #ef8a80; --bar: #27493a; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.35rem; margin: 0 0 .5rem; }
h2 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p.head { margin: .1rem 0; color: var(--soft); overflow-wrap: anywhere; }
.verdicts { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.verdict { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--soft); border-radius: 6px;
  padding: .6rem .9rem; overflow-wrap: anywhere; }
.verdict.good { border-left-color: var(--good); } .verdict.bad { border-left-color: var(--bad); }
.verdict b { display: block; text-transform: uppercase; letter-spacing: .06em; font-size: .75rem; color: var(--soft); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .4rem .75rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; font-size: .8rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.name { font-family: ui-monospace, monospace; font-size: .82rem; white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
td.share { background-repeat: no-repeat; }
tr.total td { font-weight: 600; } tr:last-child td { border-bottom: 0; }
tr.left td { color: var(--soft); white-space: normal; }
svg.plot { display: block; max-width: 45rem; margin: .5rem 0 1rem; font-size: 12px; }
svg.plot text { fill: var(--soft); } svg.plot .grid { stroke: var(--line); }
svg.plot polyline { fill: none; stroke-width: 2; } svg.plot polyline.first { stroke: var(--good); } svg.plot circle.first { fill: var(--good); }
svg.plot polyline.second { stroke: var(--bad); } svg.plot circle.second { fill: var(--bad); }
p.note { color: var(--soft); font-size: .9rem; margin: .35rem 0; overflow-wrap: anywhere; }
)css";

// A share is drawn as a bar behind its number; `text` is like "90.0 %".
std::string bar(const std::string& text) {
  double percent = 0;
  if (std::sscanf(text.c_str(), "%lf", &percent) != 1) return "";
  return fmt::format(
      " style=\"background-image:linear-gradient(90deg,var(--bar) {0:.1f}%,transparent {0:.1f}%)\"",
      std::clamp(percent, 0.0, 100.0));
}

std::string cell_html(const Column& column, const std::string& text, bool first) {
  const std::string_view kind = column.unit == Unit::kShare  ? "number share"
                                : right_aligned(column.unit) ? "number"
                                : first                      ? "name"
                                                             : "";
  return fmt::format("<td class=\"{}\"{}>{}</td>", kind,
                     column.unit == Unit::kShare ? bar(text) : "", escaped(text));
}

std::string row_html(const PaperTable& table, const std::vector<std::string>& cells,
                     std::string_view kind) {
  std::string out = fmt::format("<tr class=\"{}\">", kind);
  for (size_t i = 0; i < cells.size(); ++i) out += cell_html(table.columns[i], cells[i], i == 0);
  return out + "</tr>\n";
}

std::string table_html(const PaperTable& table) {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const Column& column : table.columns) {
    out += fmt::format("<th class=\"{}\">{}</th>", right_aligned(column.unit) ? "number" : "",
                       escaped(column.title));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) out += row_html(table, row, "");
  for (const auto& row : table.total) out += row_html(table, row, "total");
  for (const auto& row : table.left_out) {
    out += fmt::format(
        "<tr class=\"left\"><td class=\"name\">{}</td><td colspan=\"{}\">left out: {}</td></tr>\n",
        escaped(row.what), std::max<size_t>(1, table.columns.size() - 1), escaped(row.reason));
  }
  return out + "</tbody></table></div>\n";
}

std::string verdicts_html(const Report& report) {
  if (report.verdicts.empty()) return "";
  std::string out = "<div class=\"verdicts\">\n";
  for (const Verdict& verdict : report.verdicts) {
    const std::string_view kind = !verdict.ok ? "" : *verdict.ok ? "good" : "bad";
    out += fmt::format("<div class=\"verdict {}\"><b>{}</b>{}</div>\n", kind,
                       escaped(printable(verdict.name)), escaped(printable(verdict.text, 1000)));
  }
  return out + "</div>\n";
}

std::string render(const Report& report, const RenderOptions&) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
      escaped(report.title), kStyle);
  for (const std::string& line : report.head)
    out += fmt::format("<p class=\"head\">{}</p>\n", escaped(line));
  out += verdicts_html(report);
  for (const PaperTable& table : paper_tables(report)) {
    if (!table.title.empty()) out += fmt::format("<h2>{}</h2>\n", escaped(table.title));
    out += plot_svg(*table.source);
    out += table_html(table);
  }
  for (const std::string& note : report.notes)
    out += fmt::format("<p class=\"note\">{}</p>\n", escaped(note));
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace

constinit const Renderer html_renderer{"html", "one self-contained page", render};

}  // namespace espalier
