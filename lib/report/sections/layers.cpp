#include <algorithm>

#include "lib/prune/pack/block_pattern.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

// Sums over the layers that were looked at.
struct Total {
  size_t layers = 0, weights = 0, blocks = 0, blocks_kept = 0;
  uint64_t before = 0, after = 0;
  double zeros = 0, counted = 0;
  std::optional<double> ms_dense, ms_sparse;

  double zero_share() const { return counted == 0 ? 0 : zeros / counted; }
};

void add_time(std::optional<double>& sum, std::optional<double> part) {
  if (part) sum = sum.value_or(0) + *part;
}

Total total_of(const std::vector<LayerResult>& layers) {
  Total total;
  for (const LayerResult& layer : layers) {
    if (!layer.left_out.empty()) continue;
    ++total.layers;
    total.weights += layer.weights;
    total.blocks += layer.blocks;
    total.blocks_kept += layer.blocks_kept;
    total.before += layer.bytes_before;
    total.after += layer.bytes_after;
    const auto counted = static_cast<double>(layer.weights - layer.diagonal);
    total.zeros += layer.zeros * counted;
    total.counted += counted;
    add_time(total.ms_dense, layer.ms_dense);
    add_time(total.ms_sparse, layer.ms_sparse);
  }
  return total;
}

Shape matrix_of(const LayerResult& layer) {
  return {static_cast<int64_t>(layer.matrix_rows), static_cast<int64_t>(layer.matrix_cols)};
}

// In full in JSON, on paper as one line of operators.
void add_other_constants(const std::vector<InspectResults::OtherConstant>& others, Report& report) {
  Table table{
      "other_constants",
      "",
      {{"weight", ""}, {"node", ""}, {"operator", ""}, {"shape", ""}, {"type", ""}, {"reason", ""}},
      {},
      {}};
  std::vector<std::pair<std::string, size_t>> counts;  // by operator, in order
  for (const auto& [weight, node, op, shape, type, reason] : others) {
    table.rows.push_back({weight, cell_or_null(node), op, shape, type, reason});
    const auto found = std::ranges::find(counts, op, &std::pair<std::string, size_t>::first);
    found == counts.end() ? static_cast<void>(counts.emplace_back(op, 1))
                          : static_cast<void>(++found->second);
  }
  std::string text;
  for (const auto& [op, count] : counts)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, printable(op, 60));
  if (!others.empty())
    report.notes.push_back("constants of two axes and more that are not multiplied as matrices: " +
                           text);
  report.parts.emplace_back(std::move(table));
}

// Table of the weights that `inspect` found, with a total.
void add_inspected(const InspectResults& found, Report& report) {
  const bool other = std::ranges::any_of(
      found.layers, [](const LayerResult& layer) { return layer.values != layer.type; });
  Table table{"layers",
              "weights",
              {{"name", ""},
               {"node", ""},
               {"weight", "weight"},
               {"operator", "operator"},
               {"shape", "shape"},
               {"matrix", ""},
               {"type", "type"},
               {"block", "block"},
               {"weights", "count", Unit::kCount},
               {"zeros", "zeros", Unit::kShare},
               {"bytes", "size", Unit::kBytes},
               {"values", other ? "values" : ""},
               {"left_out", "left out", Unit::kReason}},
              {},
              {}};
  for (const LayerResult& layer : found.layers) {
    table.rows.push_back({layer.name, cell_or_null(layer.node), layer.weight, layer.op, layer.shape,
                          matrix_of(layer), layer.type, layer.block, count_cell(layer.weights),
                          layer.zeros, count_cell(layer.bytes_after), layer.values,
                          cell_or_null(layer.left_out)});
  }
  const Total total = total_of(found.layers);
  table.total = {{},
                 {},
                 std::string("total"),
                 {},
                 {},
                 {},
                 {},
                 {},
                 count_cell(total.weights),
                 total.zero_share(),
                 count_cell(total.after),
                 {},
                 {}};
  report.parts.emplace_back(std::move(table));
  report.parts.emplace_back(Record{"total",
                                   {{"layers", count_cell(total.layers)},
                                    {"weights", count_cell(total.weights)},
                                    {"zeros", total.zero_share()},
                                    {"bytes", count_cell(total.after)}}});
  add_other_constants(found.other_constants, report);
}

// Table of the layers that were packed, with a total: columns without a heading are for the JSON
// file alone, those of errors and times appear where they were measured.
void add_packed(const PackResults& pack, Report& report) {
  const bool compared = std::ranges::any_of(
      pack.layers, [](const LayerResult& layer) { return layer.magnitude_error.has_value(); });
  const bool chosen = !pack.reached_values.empty();
  Table table{"layers",
              "",
              {{"name", ""},
               {"node", ""},
               {"weight", "layer"},
               {"operator", ""},
               {"shape", "shape"},
               {"matrix", ""},
               {"block", ""},
               {"", "block"},
               {"weights", "", Unit::kCount},
               {"zeros", "zeros", Unit::kShare},
               {"blocks", "", Unit::kCount},
               {"blocks_kept", "", Unit::kCount},
               {"diagonal", "", Unit::kCount},
               {"bytes_before", "before", Unit::kBytes},
               {"bytes_after", "after", Unit::kBytes},
               {"output_error", "output error", Unit::kNumber},
               {"magnitude_error", compared ? "by magnitude" : "", Unit::kNumber},
               {"ms_dense", "ms dense", Unit::kMilliseconds},
               {"ms_sparse", "ms sparse", Unit::kMilliseconds},
               {"method_used", ""},
               {"obs_multiply_adds", "", Unit::kNumber},
               {"values", chosen ? "values" : ""},
               {"left_out", "left out", Unit::kReason}},
              {},
              {}};
  for (const LayerResult& layer : pack.layers) {
    table.rows.push_back({layer.name,
                          cell_or_null(layer.node),
                          layer.weight,
                          layer.op,
                          layer.shape,
                          matrix_of(layer),
                          cell_or_null(layer.block),
                          cell_or_null(layer.pattern.empty() ? layer.block : layer.pattern),
                          count_cell(layer.weights),
                          layer.zeros,
                          count_cell(layer.blocks),
                          count_cell(layer.blocks_kept),
                          count_cell(layer.diagonal),
                          count_cell(layer.bytes_before),
                          count_cell(layer.bytes_after),
                          cell(layer.output_error),
                          cell(layer.magnitude_error),
                          cell(layer.ms_dense),
                          cell(layer.ms_sparse),
                          cell_or_null(layer.method_used),
                          cell(layer.obs_multiply_adds),
                          cell_or_null(layer.values),
                          cell_or_null(layer.left_out)});
  }
  const Total total = total_of(pack.layers);
  table.total = {{},
                 {},
                 std::string("total"),
                 {},
                 {},
                 {},
                 {},
                 {},
                 count_cell(total.weights),
                 total.zero_share(),
                 count_cell(total.blocks),
                 count_cell(total.blocks_kept),
                 {},
                 count_cell(total.before),
                 count_cell(total.after),
                 {},
                 {},
                 cell(total.ms_dense),
                 cell(total.ms_sparse),
                 {},
                 {},
                 {},
                 {}};
  report.parts.emplace_back(std::move(table));
  report.parts.emplace_back(Record{"total",
                                   {{"layers", count_cell(total.layers)},
                                    {"weights", count_cell(total.weights)},
                                    {"zeros", total.zero_share()},
                                    {"bytes_before", count_cell(total.before)},
                                    {"bytes_after", count_cell(total.after)}}});
}

void add(const Results& results, Report& report) {
  if (results.inspect) add_inspected(*results.inspect, report);
  if (results.pack) {
    add_packed(*results.pack, report);
    report.masks = results.pack->masks;
  }
}

}  // namespace

constinit const Section layers_section{"layers", add};

}  // namespace espalier
