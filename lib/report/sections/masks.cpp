#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

// mask export, union, intersect, diff: share of weights that each mask keeps.
void add(const Results& results, Report& report) {
  if (!results.masks) return;
  const MaskResults& masks = *results.masks;
  const bool two = !masks.b.empty();
  report.parts.emplace_back(Record{"", {{"a", masks.a}, {"b", cell_or_null(masks.b)}}});
  report.head.push_back(two ? fmt::format("a: {}, b: {}", printable(masks.a), printable(masks.b))
                            : printable(masks.a));
  Table table{"masks", "", {{"weight", "weight"}, {"shape", "shape"}}, {}, {}};
  table.columns.push_back({"kept_a", two ? "kept in a" : "kept", Unit::kShare});
  const bool made = std::ranges::any_of(
      masks.masks, [](const MaskResult& mask) { return mask.kept_out.has_value(); });
  if (two) {
    table.columns.push_back({"kept_b", "kept in b", Unit::kShare});
    table.columns.push_back({"differ", "differ", Unit::kCount});
  }
  if (made) table.columns.push_back({"kept_out", "kept in output", Unit::kShare});
  for (const MaskResult& mask : masks.masks) {
    table.rows.push_back({mask.weight, mask.shape, cell(mask.kept_a)});
    if (!two) continue;
    table.rows.back().push_back(cell(mask.kept_b));
    table.rows.back().push_back(count_cell(mask.differ));
    if (made) table.rows.back().push_back(cell(mask.kept_out));
  }
  report.parts.emplace_back(std::move(table));
}

}  // namespace

constinit const Section masks_section{"masks", add};

}  // namespace espalier
