#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

Record reference_record(std::string key, const SweepResults::Reference& reference) {
  return {std::move(key),
          {{"file", reference.file},
           {"bytes", count_cell(reference.bytes)},
           {"median_ms", cell(reference.median_ms)},
           {"metric", cell(reference.metric)}}};
}

std::string reference_line(std::string_view name, const SweepResults& sweep,
                           const SweepResults::Reference& reference) {
  std::string line = fmt::format("{}: {}", name, format_bytes(reference.bytes));
  if (reference.metric)
    line += fmt::format(", {} {}", printable(sweep.metric), format_number(*reference.metric));
  if (reference.median_ms) line += fmt::format(", {} ms", format_number(*reference.median_ms));
  return line;
}

// The grid, a row for each point. Columns in which all rows are alike are for the files alone.
Table points_table(const SweepResults& sweep) {
  const auto any = [&](auto member) {
    return std::ranges::any_of(
        sweep.points, [&](const SweepPoint& point) { return (point.*member).has_value(); });
  };
  const auto any_text = [&](auto member) {
    return std::ranges::any_of(sweep.points,
                               [&](const SweepPoint& point) { return !(point.*member).empty(); });
  };
  const std::string metric = any(&SweepPoint::metric) ? sweep.metric : "";
  Table table{"points",
              "",
              {{"method", "method"},
               {"block", "block"},
               {"sparsity", "sparsity", Unit::kShare},
               {"values", any_text(&SweepPoint::values) ? "values" : ""},
               {"effort", any_text(&SweepPoint::effort) ? "effort" : ""},
               {"file", ""},
               {"sha256", ""},
               {"bytes", "file", Unit::kBytes},
               {"zeros", "zeros", Unit::kShare},
               {"output_error", "output error", Unit::kNumber},
               {"metric", metric, Unit::kNumber},
               {"median_ms", any(&SweepPoint::median_ms) ? "ms" : "", Unit::kMilliseconds},
               {"speedup", any(&SweepPoint::speedup) ? "speedup" : "", Unit::kRatio},
               {"pareto", "best of its kind", Unit::kYesNo}},
              {},
              {}};
  for (const SweepPoint& point : sweep.points) {
    table.rows.push_back({point.method, point.block, point.sparsity, cell_or_null(point.values),
                          cell_or_null(point.effort), point.file, point.sha256,
                          count_cell(point.bytes), point.zeros, cell(point.output_error),
                          cell(point.metric), cell(point.median_ms), cell(point.speedup),
                          point.pareto});
  }
  return table;
}

std::string point_label(const SweepPoint& point) {
  const auto part = [](const std::string& text) { return text.empty() ? "" : ", " + text; };
  return fmt::format("{} {} at {}{}{}", point.method, point.block,
                     format_cell(point.sparsity, Unit::kShare), part(point.values),
                     part(point.effort));
}

// Metric, or error, over bytes or time: a series for each method, the best of their kind large, dense
// and int8 next to them.
Chart pareto_chart(const SweepResults& sweep, bool over_bytes) {
  struct Place {
    double x;
    std::optional<double> y;
    std::string series, label;
  };
  std::vector<Place> places;
  const auto add = [&](std::optional<double> x, std::optional<double> y, std::string series,
                       std::string label) {
    if (x && y) places.push_back({*x, y, std::move(series), std::move(label)});
  };
  const bool metric = !sweep.metric.empty();
  for (const SweepPoint& p : sweep.points) {
    add(over_bytes ? std::optional(static_cast<double>(p.bytes)) : p.median_ms,
        metric ? p.metric : p.output_error, p.method + (p.pareto ? ", best of its kind" : ""),
        point_label(p));
  }
  const auto reference = [&](const SweepResults::Reference& r, const char* name,
                             std::optional<double> error) {
    add(over_bytes ? std::optional(static_cast<double>(r.bytes)) : r.median_ms,
        metric ? r.metric : error, name, name);
  };
  reference(sweep.dense, "dense", 0.0);
  if (sweep.int8) reference(*sweep.int8, "dynamic int8", std::nullopt);
  std::ranges::stable_sort(places, {}, &Place::x);
  Chart chart;
  chart.table = "points";
  const std::string y = metric ? sweep.metric : "output error";
  chart.title = fmt::format("{} over {}", y, over_bytes ? "file size" : "time");
  chart.x_label = over_bytes ? "file size" : "time of a run";
  chart.y_label = y;
  chart.x_unit = over_bytes ? Unit::kBytes : Unit::kMilliseconds;
  for (const Place& place : places) {
    chart.x.push_back(place.x);
    chart.labels.push_back(place.label);
    if (std::ranges::find(chart.series, place.series, &Series::label) == chart.series.end())
      chart.series.push_back(
          {place.series, Unit::kNumber, {}, false, false, true, place.series.ends_with("kind")});
  }
  std::ranges::sort(chart.series, {}, &Series::label);
  for (Series& series : chart.series) {
    for (const Place& place : places)
      series.values.push_back(place.series == series.label ? place.y : std::nullopt);
  }
  return chart;
}

// sweep: what was swept, dense and int8 next to it, the points.
void add(const Results& results, Report& report) {
  if (!results.sweep) return;
  const SweepResults& sweep = *results.sweep;
  const Cell metric = cell_or_null(sweep.metric);
  report.parts.emplace_back(Record{"", {{"model", sweep.model}, {"metric_name", metric}}});
  report.parts.emplace_back(reference_record("dense", sweep.dense));
  report.head.push_back(printable(sweep.model));
  report.head.push_back(reference_line("dense", sweep, sweep.dense));
  if (sweep.int8) {
    report.parts.emplace_back(reference_record("int8", *sweep.int8));
    report.head.push_back(reference_line("dynamic int8", sweep, *sweep.int8));
  } else {
    report.parts.emplace_back(Nothing{"int8"});
  }
  Table table = points_table(sweep);
  table.chosen = sweep.picked;
  report.parts.emplace_back(std::move(table));
  report.charts.push_back(pareto_chart(sweep, true));
  if (std::ranges::any_of(sweep.points,
                          [](const SweepPoint& p) { return p.median_ms.has_value(); }))
    report.charts.push_back(pareto_chart(sweep, false));
  report.parts.emplace_back(
      Record{"", {{"picked", sweep.picked ? Cell(sweep.points[*sweep.picked].file) : Cell()}}});
  if (sweep.missing != 0)
    report.notes.push_back(fmt::format("{} points of the grid are not here yet", sweep.missing));
}

}  // namespace

constinit const Section sweep_section{"sweep", add};

}  // namespace espalier
