#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

Record file_record(std::string key, const FileInfo& file) {
  return {std::move(key),
          {{"file", file.file},
           {"format", file.format},
           {"bytes", file.bytes ? count_cell(*file.bytes) : Cell()}}};
}

template <typename T>
Cell optional_cell(const std::optional<T>& value) {
  if (!value) return {};
  if constexpr (std::is_same_v<T, uint64_t>) {
    return count_cell(*value);
  } else {
    return *value;
  }
}

// diff: structure, then weights that differ.
void add(const Results& results, Report& report) {
  if (!results.diff) return;
  const DiffResults& diff = *results.diff;
  report.parts.emplace_back(file_record("a", diff.a));
  report.parts.emplace_back(file_record("b", diff.b));
  report.parts.emplace_back(Record{
      "",
      {{"same_structure", diff.same_structure}, {"same_weights", count_cell(diff.same_weights)}}});
  for (const auto& [letter, file] : {std::pair("a", &diff.a), std::pair("b", &diff.b)}) {
    report.head.push_back(fmt::format("{}: {}, {}, {}", letter, printable(file->file), file->format,
                                      format_bytes(file->bytes.value_or(0))));
  }
  Table operators{
      "operators",
      "operators that differ in number",
      {{"operator", "operator"}, {"a", "in a", Unit::kCount}, {"b", "in b", Unit::kCount}},
      {},
      {}};
  for (const auto& [op, counts] : diff.operators)
    operators.rows.push_back({op, count_cell(counts.first), count_cell(counts.second)});
  report.parts.emplace_back(std::move(operators));
  Table weights{"weights",
                "weights that differ",
                {{"name", "weight"},
                 {"state", "what differs"},
                 {"shape_a", "shape a"},
                 {"shape_b", "shape b"},
                 {"max_abs", "largest", Unit::kNumber},
                 {"zeros_a", "zeros a", Unit::kShare},
                 {"zeros_b", "zeros b", Unit::kShare},
                 {"bytes_a", "size a", Unit::kBytes},
                 {"bytes_b", "size b", Unit::kBytes}},
                {},
                {}};
  for (const DiffWeight& w : diff.weights) {
    weights.rows.push_back({w.name, w.state, optional_cell(w.shape_a), optional_cell(w.shape_b),
                            optional_cell(w.max_abs), optional_cell(w.zeros_a),
                            optional_cell(w.zeros_b), optional_cell(w.bytes_a),
                            optional_cell(w.bytes_b)});
  }
  const bool same = diff.same_structure && weights.rows.empty();
  report.notes.push_back(fmt::format("{}; {} weights are equal bit for bit, {} differ",
                                     same                  ? "the models are equal"
                                     : diff.same_structure ? "the structure is equal"
                                                           : "the structure differs",
                                     diff.same_weights, weights.rows.size()));
  report.parts.emplace_back(std::move(weights));
}

}  // namespace

constinit const Section differences_section{"differences", add};

}  // namespace espalier
