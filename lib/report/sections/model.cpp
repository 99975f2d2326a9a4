#include <fmt/format.h>

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
  for (const TensorInfo& tensor : list) {
    table.rows.push_back({tensor.name, tensor.type, tensor.shape ? Cell(*tensor.shape) : Cell()});
  }
  return table;
}

// inspect: the file, its operators, inputs and outputs.
void add(const Results& results, Report& report) {
  if (!results.inspect) return;
  const InspectResults& found = *results.inspect;
  const uint64_t bytes = found.file.bytes.value_or(0);
  report.parts.emplace_back(Record{
      "",
      {{"file", found.file.file}, {"format", found.file.format}, {"bytes", count_cell(bytes)}}});
  Record operators{"operators", {}};
  std::string line;
  for (const auto& [op, count] : found.operators) {
    operators.fields.emplace_back(op, count_cell(count));
    line += fmt::format("{}{} {}", line.empty() ? "" : ", ", printable(op, 60), count);
  }
  report.head.push_back(fmt::format("{}: {}, {}", printable(found.file.file), found.file.format,
                                    format_bytes(bytes)));
  report.head.push_back("operators: " + (line.empty() ? "none" : line));
  report.parts.emplace_back(std::move(operators));
  report.parts.emplace_back(tensors("inputs", "inputs", found.inputs));
  report.parts.emplace_back(tensors("outputs", "outputs", found.outputs));
}

}  // namespace

constinit const Section model_section{"model", add};

}  // namespace espalier
