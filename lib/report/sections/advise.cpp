#include <fmt/format.h>

#include "lib/report/sections/machine.h"

namespace espalier {
namespace {

std::vector<Column> time_columns() {
  return {{"break_even", "break-even", Unit::kShare},
          {"worth", "worth it", Unit::kYesNo},
          {"ms_dense", "ms dense", Unit::kMilliseconds},
          {"ms_packed_80", "at 80 %", Unit::kMilliseconds},
          {"ms_packed_90", "at 90 %", Unit::kMilliseconds}};
}

void add_times(const AdviseRow& row, std::vector<Cell>& cells) {
  cells.insert(cells.end(), {cell(row.break_even), row.block.empty() ? Cell() : Cell(row.worth),
                             cell(row.ms_dense), cell(row.ms_packed_80), cell(row.ms_packed_90)});
}

Table blocks_table(const AdviseResults& found) {
  Table table{"blocks", "entire model, by block", {{"block", "block"}}, {}, {}};
  for (Column& column : time_columns()) table.columns.push_back(std::move(column));
  for (const AdviseRow& row : found.blocks) {
    std::vector<Cell> cells{row.block};
    add_times(row, cells);
    table.rows.push_back(std::move(cells));
  }
  return table;
}

Table layers_table(const AdviseResults& found) {
  Table table{"layers",
              "each layer, in its best block",
              {{"name", ""},
               {"weight", "layer"},
               {"node", "node"},
               {"matrix", "matrix"},
               {"n", "n", Unit::kCount},
               {"block", "block"}},
              {},
              {}};
  for (Column& column : time_columns()) table.columns.push_back(std::move(column));
  table.columns.push_back({"left_out", "left out", Unit::kReason});
  for (const AdviseRow& row : found.layers) {
    std::vector<Cell> cells{row.name,   row.weight,        cell_or_null(row.node),
                            row.matrix, count_cell(row.n), cell_or_null(row.block)};
    add_times(row, cells);
    cells.push_back(cell_or_null(row.left_out));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

// advise: which block, from which sparsity on.
void add(const Results& results, Report& report) {
  if (!results.advise) return;
  const AdviseResults& found = *results.advise;
  if (found.random_inputs) {
    report.head.push_back(fmt::format(
        "No --inputs: one run on random inputs was {}, of {}; another number of steps "
        "or samples has other times",
        found.measured_here ? "timed" : "counted", format_cell(Cell(found.inputs), Unit::kText)));
  }
  add_machine(found.machine, report);
  const AdviseRow& model = found.model;
  report.parts.emplace_back(Record{"model",
                                   {{"block", model.block},
                                    {"break_even", cell(model.break_even)},
                                    {"worth", model.worth},
                                    {"ms_dense", cell(model.ms_dense)},
                                    {"ms_packed_80", cell(model.ms_packed_80)},
                                    {"ms_packed_90", cell(model.ms_packed_90)}}});
  report.parts.emplace_back(blocks_table(found));
  report.parts.emplace_back(layers_table(found));
  report.notes.push_back(
      model.break_even
          ? fmt::format(
                "{}: block {}, faster from {:.0f} % zeros on, {:.2f}x at 80 %, {:.2f}x at 90 %",
                model.worth ? "worth pruning" : "hardly worth pruning", model.block,
                100 * *model.break_even, *model.ms_dense / *model.ms_packed_80,
                *model.ms_dense / *model.ms_packed_90)
          : "not worth pruning for speed: no block is faster at any sparsity");
  report.notes.emplace_back(
      found.measured_here
          ? "Times are of entire runs with blocks kept at random, at 80 % and 90 % zeros; the "
            "break-even is that of a line fitted through 60, 80 and 90 %. Worth pruning means at "
            "least 1.25x at 80 %."
          : "Predicted from the products of the layers alone; the rest of the model is not "
            "included.");
}

}  // namespace

constinit const Section advise_section{"advise", add};

}  // namespace espalier
