#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

// calibrate: what was seen of each weight's inputs.
void add(const Results& results, Report& report) {
  if (!results.calibrate) return;
  const CalibrateResults& found = *results.calibrate;
  report.parts.emplace_back(Record{"",
                                   {{"model", cell_or_null(found.model)},
                                    {"feeds", count_cell(found.feeds)},
                                    {"output", found.output}}});
  report.head.push_back(fmt::format("statistics: {}", printable(found.output)));
  Table table{"layers",
              "",
              {{"weight", "weight"},
               {"node", ""},
               {"groups", "groups", Unit::kCount},
               {"inputs", "inputs", Unit::kCount},
               {"samples", "samples", Unit::kCount},
               {"left_out", "left out", Unit::kReason}},
              {},
              {}};
  for (const CalibratedLayer& layer : found.layers) {
    table.rows.push_back({layer.weight, cell_or_null(layer.node), count_cell(layer.groups),
                          count_cell(layer.inputs), count_cell(layer.samples),
                          cell_or_null(layer.left_out)});
  }
  report.parts.emplace_back(std::move(table));
}

}  // namespace

constinit const Section calibration_section{"calibration", add};

}  // namespace espalier
