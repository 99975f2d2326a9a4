#include <algorithm>

#include "lib/report/results.h"

namespace espalier {
namespace {

// The columns of a curve that have anything in them; keys stay, so that JSON has null there.
template <typename Member>
std::string title(const std::vector<CurvePoint>& points, Member member, const char* text) {
  const bool any = std::ranges::any_of(
      points, [&](const CurvePoint& point) { return (point.*member).has_value(); });
  return any ? text : "";
}

// Metric over sparsity with the limit and what was chosen; size and time as shares of the dense ones
// on the second axis.
Chart chart_of(const PackResults& pack, const std::vector<CurvePoint>& points,
               const std::string& metric) {
  Chart chart{"curve",
              metric + ", size and time over sparsity",
              "sparsity",
              metric,
              "size and time, of dense",
              Unit::kShare,
              {},
              {},
              {},
              pack.metric_limit,
              pack.reached_sparsity,
              "limit"};
  for (const CurvePoint& point : points) chart.x.push_back(point.sparsity);
  const auto add = [&](const std::string& label, Unit unit, bool right, bool fits,
                       const auto& value) {
    Series series{label, unit, {}, right, true, fits};
    for (const CurvePoint& point : points) series.values.push_back(value(point));
    const bool any =
        std::ranges::any_of(series.values, [](const auto& v) { return v.has_value(); });
    if (any) chart.series.push_back(std::move(series));
  };
  const auto share = [](std::optional<double> part, std::optional<double> whole) {
    return part && whole && *whole > 0 ? std::optional(*part / *whole) : std::nullopt;
  };
  const auto bytes =
      pack.input.bytes ? std::optional(static_cast<double>(*pack.input.bytes)) : std::nullopt;
  const auto dense_ms = pack.speed ? std::optional(pack.speed->dense_ms) : std::nullopt;
  add(metric, Unit::kNumber, false, true, [](const CurvePoint& p) { return p.metric; });
  add("by magnitude", Unit::kNumber, false, false, [](const CurvePoint& p) { return p.magnitude; });
  add("size", Unit::kShare, true, true, [&](const CurvePoint& p) {
    return share(p.bytes ? std::optional(static_cast<double>(*p.bytes)) : std::nullopt, bytes);
  });
  add("time", Unit::kShare, true, true, [&](const CurvePoint& p) { return share(p.ms, dense_ms); });
  return chart;
}

// prune with a target or --curve: all that was tried, by sparsity.
void add(const Results& results, Report& report) {
  if (!results.pack || results.pack->curve.empty()) return;
  std::vector<CurvePoint> points = results.pack->curve;
  std::ranges::stable_sort(points, {}, &CurvePoint::sparsity);
  const bool types =
      std::ranges::any_of(points, [](const CurvePoint& p) { return !p.values.empty(); });
  const std::string name = results.pack->metric ? results.pack->metric->name : "metric";
  Table table{"curve",
              "over sparsity",
              {{"sparsity", "sparsity", Unit::kShare},
               {"metric", title(points, &CurvePoint::metric, name.c_str()), Unit::kNumber},
               {"magnitude", title(points, &CurvePoint::magnitude, "by magnitude"), Unit::kNumber},
               {"bytes", title(points, &CurvePoint::bytes, "file"), Unit::kBytes},
               {"ms", title(points, &CurvePoint::ms, "ms"), Unit::kMilliseconds},
               {"values", types ? "values" : ""},
               {"drop_low", title(points, &CurvePoint::drop_low, "drop from"), Unit::kNumber},
               {"drop_high", title(points, &CurvePoint::drop_high, "to"), Unit::kNumber}},
              {},
              {}};
  const auto reached = std::ranges::find_if(points, [&](const CurvePoint& p) {
    return results.pack->reached_sparsity == p.sparsity && results.pack->reached_values == p.values;
  });
  if (reached != points.end()) table.chosen = static_cast<size_t>(reached - points.begin());
  report.charts.push_back(chart_of(*results.pack, points, name));
  for (const CurvePoint& point : points) {
    table.rows.push_back({point.sparsity, cell(point.metric), cell(point.magnitude),
                          point.bytes ? count_cell(*point.bytes) : Cell(), cell(point.ms),
                          cell_or_null(point.values), cell(point.drop_low), cell(point.drop_high)});
  }
  report.parts.emplace_back(std::move(table));
}

}  // namespace

constinit const Section curve_section{"curve", add};

}  // namespace espalier
