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

void add(const Results& results, Report& report) {
  if (!results.pack || results.pack->curve.empty()) return;
  std::vector<CurvePoint> points = results.pack->curve;
  std::ranges::stable_sort(points, {}, &CurvePoint::sparsity);
  const std::string name = results.pack->metric ? results.pack->metric->name : "metric";
  Table table{"curve",
              "over sparsity",
              {{"sparsity", "sparsity", Unit::kShare},
               {"metric", title(points, &CurvePoint::metric, name.c_str()), Unit::kNumber},
               {"magnitude", title(points, &CurvePoint::magnitude, "by magnitude"), Unit::kNumber},
               {"bytes", title(points, &CurvePoint::bytes, "file"), Unit::kBytes},
               {"ms", title(points, &CurvePoint::ms, "ms"), Unit::kMilliseconds}},
              {},
              {}};
  table.plotted = {1, 2};
  for (const CurvePoint& point : points) {
    table.rows.push_back({point.sparsity, cell(point.metric), cell(point.magnitude),
                          point.bytes ? count_cell(*point.bytes) : Cell(), cell(point.ms)});
  }
  report.parts.emplace_back(std::move(table));
}

}  // namespace

constinit const Section curve_section{"curve", add};

}  // namespace espalier
