#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

Table tensors(std::string key, std::string title, const std::vector<TensorInfo>& list) {
  Table table{std::move(key),
              std::move(title),
              {{"name", "name"}, {"type", "type"}, {"shape", "shape"}},
              {},
              {}};
  const bool named = std::ranges::any_of(
      list, [](const TensorInfo& tensor) { return !tensor.dimension_names.empty(); });
  table.columns.push_back({"dimension_names", named ? "names of axes" : ""});
  for (const TensorInfo& tensor : list) {
    const Cell shape = tensor.shape ? Cell(*tensor.shape) : Cell();
    const auto& names = tensor.dimension_names;
    table.rows.push_back({tensor.name, tensor.type, shape, names.empty() ? Cell() : Cell(names)});
  }
  return table;
}

// How large the weights that can be pruned are, with bars.
Table magnitudes_table(const InspectResults& found) {
  Table table{
      "magnitudes",
      "sizes of the weights that can be pruned, next to the root mean square of each tensor",
      {{"", "up to"}, {"limit", ""}, {"share", "share", Unit::kShare}, {"", " "}},
      {},
      {}};
  constexpr double kBar = 40;  // characters for all of them
  for (const auto& [limit, share] : found.magnitudes) {
    const std::string bar(static_cast<size_t>(std::lround(kBar * share)), '#');
    const std::string name = !limit ? "more" : *limit == 0 ? "zero" : fmt::format("{:g}", *limit);
    table.rows.push_back({name, cell(limit), share, bar});
  }
  return table;
}

uint64_t prunable(const InspectResults& found) {
  uint64_t weights = 0;
  for (const LayerResult& layer : found.layers) {
    if (layer.left_out.empty()) weights += layer.weights;
  }
  return weights;
}

// "pytorch 2.4.0, IR 8, ai.onnx 17": what the file says of itself.
std::string facts_line(const InspectResults& found) {
  std::vector<std::string> parts;
  if (!found.producer.empty()) parts.push_back("by " + printable(found.producer, 80));
  if (!found.version.empty()) parts.push_back(found.version);
  for (const auto& [domain, version] : found.opsets)
    parts.push_back(fmt::format("opset {} {}", printable(domain, 60), version));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string counts_line(const InspectResults& found) {
  const auto all = static_cast<double>(found.parameters);
  std::string text = fmt::format("parameters: {}", format_count(all));
  if (found.parameters != 0)
    text += fmt::format(", {:.1f} % in weights that can be pruned",
                        100 * static_cast<double>(prunable(found)) / all);
  if (found.multiply_adds) {
    text += fmt::format("; multiply-adds of a run with {}: {}",
                        format_cell(Cell(found.run_inputs), Unit::kText),
                        format_count(*found.multiply_adds));
  } else if (!found.not_run.empty()) {
    text += "; multiply-adds not counted: " + printable(found.not_run, 300);
  }
  return text;
}

// inspect: the file, its operators, inputs and outputs.
void add(const Results& results, Report& report) {
  if (!results.inspect) return;
  const InspectResults& found = *results.inspect;
  const uint64_t bytes = found.file.bytes.value_or(0);
  report.parts.emplace_back(
      Record{"",
             {{"file", found.file.file},
              {"format", found.file.format},
              {"bytes", count_cell(bytes)},
              {"version", cell_or_null(found.version)},
              {"producer", cell_or_null(found.producer)},
              {"parameters", count_cell(found.parameters)},
              {"prunable", count_cell(prunable(found))},
              {"multiply_adds", cell(found.multiply_adds)},
              {"run_inputs", found.multiply_adds ? Cell(found.run_inputs) : Cell()}}});
  Record opsets{"opsets", {}};
  for (const auto& [domain, version] : found.opsets) opsets.fields.emplace_back(domain, version);
  report.parts.emplace_back(std::move(opsets));
  Record operators{"operators", {}};
  std::string line;
  for (const auto& [op, count] : found.operators) {
    operators.fields.emplace_back(op, count_cell(count));
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", printable(op, 60), count);
  }
  report.head.push_back(fmt::format("{}: {}, {}", printable(found.file.file), found.file.format,
                                    format_bytes(bytes)));
  if (const std::string facts = facts_line(found); !facts.empty()) report.head.push_back(facts);
  report.head.push_back(counts_line(found));
  report.head.push_back("operators: " + (line.empty() ? "none" : line));
  report.parts.emplace_back(std::move(operators));
  report.parts.emplace_back(tensors("inputs", "inputs", found.inputs));
  report.parts.emplace_back(tensors("outputs", "outputs", found.outputs));
  report.parts.emplace_back(magnitudes_table(found));
}

}  // namespace

constinit const Section model_section{"model", add};

}  // namespace espalier
