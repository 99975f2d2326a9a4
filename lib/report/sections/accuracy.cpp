#include <fmt/format.h>

#include "lib/base/error.h"
#include "lib/report/results.h"

namespace espalier {
namespace {

Table outputs_table(std::string key, std::string title,
                    const std::vector<OutputDifference>& outputs) {
  Table table{std::move(key),
              std::move(title),
              {{"name", "output"},
               {"max_abs", "largest difference", Unit::kNumber},
               {"max_rel", "relative", Unit::kNumber},
               {"relative_error", "root mean square", Unit::kNumber},
               {"cosine", "cosine", Unit::kNumber},
               {"ok", "within", Unit::kYesNo}},
              {},
              {}};
  for (const OutputDifference& o : outputs) {
    table.rows.push_back({o.name, o.max_abs, o.max_rel, o.relative_error, o.cosine, o.ok});
  }
  return table;
}

void add_notes(const std::vector<OutputDifference>& outputs, Report& report) {
  for (const OutputDifference& o : outputs) {
    if (!o.note.empty()) {
      report.notes.push_back(fmt::format("output {}: {}", printable(o.name), printable(o.note)));
    }
  }
}

// Outputs of f16 and bf16 have tolerances of their own.
void add_tolerance_notes(const VerifyResults& found, Report& report) {
  for (const OutputDifference& o : found.outputs) {
    if (o.tolerance.abs == found.tolerance.abs && o.tolerance.rel == found.tolerance.rel) continue;
    report.notes.push_back(
        fmt::format("output {} is {}: an element may differ by {:.2g} + {:.2g} x its size",
                    printable(o.name), name_of(o.dtype), o.tolerance.abs, o.tolerance.rel));
  }
}

// The first few names; a list of thousands helps nobody.
void add_alone(const std::vector<std::string>& names, char side, Report& report) {
  constexpr size_t kShown = 5;
  for (size_t i = 0; i < names.size() && i < kShown; ++i)
    report.notes.push_back(fmt::format("weight {}: only in {}", printable(names[i]), side));
  if (names.size() > kShown) {
    report.notes.push_back(
        fmt::format("and {} other weights that are only in {}", names.size() - kShown, side));
  }
}

// The weights of two models that were compared without data: how many of them, which are in one
// model alone, and a line for each pair.
void add_weights(const VerifyResults& found, Report& report) {
  const size_t total = found.weights.size() + found.only_a.size() + found.only_b.size();
  if (found.samples == 0 && total != 0) {
    report.parts.emplace_back(Record{
        "compared", {{"weights", count_cell(found.weights.size())}, {"of", count_cell(total)}}});
    add_alone(found.only_a, 'a', report);
    add_alone(found.only_b, 'b', report);
    report.notes.push_back(fmt::format("{} of {} weights compared", found.weights.size(), total));
  }
  if (found.weights.empty()) return;
  Table table{"weights",
              "weights (no data was given: nothing was run)",
              {{"name", "weight"},
               {"shape", "shape"},
               {"max_abs", "largest difference", Unit::kNumber},
               {"max_rel", "relative", Unit::kNumber},
               {"ok", "within", Unit::kYesNo}},
              {},
              {}};
  for (const WeightDifference& w : found.weights) {
    table.rows.push_back({w.name, w.shape, w.max_abs, w.max_rel, w.ok});
    if (!w.note.empty())
      report.notes.push_back(fmt::format("weight {}: {}", printable(w.name), printable(w.note)));
  }
  report.parts.emplace_back(std::move(table));
}

// verify and run --check.
void add(const Results& results, Report& report) {
  if (!results.verify) return;
  const VerifyResults& found = *results.verify;
  report.parts.emplace_back(Record{
      "",
      {{"a", found.a}, {"b", found.b}, {"samples", count_cell(found.samples)}, {"ok", found.ok}}});
  report.parts.emplace_back(
      Record{"tolerance", {{"abs", found.tolerance.abs}, {"rel", found.tolerance.rel}}});
  report.head.push_back(fmt::format("a: {}", printable(found.a)));
  report.head.push_back(fmt::format("b: {}", printable(found.b)));
  report.parts.emplace_back(
      outputs_table("outputs", fmt::format("b against a, {} feeds", found.samples), found.outputs));
  add_notes(found.outputs, report);
  add_tolerance_notes(found, report);
  add_weights(found, report);
  if (!found.packed.empty()) {
    report.parts.emplace_back(outputs_table("packed", "packed b against decoded b", found.packed));
    add_notes(found.packed, report);
  }
  if (!found.passes.empty()) {
    report.parts.emplace_back(outputs_table(
        "passes", "a and b with passes over the graph against themselves without", found.passes));
    add_notes(found.passes, report);
  }
  if (found.metric) {
    const MetricPair& m = *found.metric;
    report.parts.emplace_back(Record{"metric",
                                     {{"name", m.name},
                                      {"a", m.a},
                                      {"b", m.b},
                                      {"drop", metric_drop(m.name, m.a, m.b)},
                                      {"drop_low", cell(m.drop_low)},
                                      {"drop_high", cell(m.drop_high)}}});
    report.notes.push_back(
        fmt::format("{}: a {}, b {}", printable(m.name), format_number(m.a), format_number(m.b)));
  } else {
    report.parts.emplace_back(Nothing{"metric"});
  }
  const bool alone = !found.only_a.empty() || !found.only_b.empty();
  report.notes.push_back(fmt::format("{} (an element may differ by {:g} + {:g} x its size)",
                                     found.ok ? "ok: all within tolerance"
                                     : alone  ? "NOT ok: not every weight has a counterpart"
                                              : "NOT ok: out of tolerance",
                                     found.tolerance.abs, found.tolerance.rel));
}

}  // namespace

constinit const Section accuracy_section{"accuracy", add};

}  // namespace espalier
