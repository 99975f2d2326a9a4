#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "lib/base/error.h"
#include "lib/base/name_list.h"
#include "lib/report/sections/machine.h"

namespace espalier {
namespace {

// Sums over all nodes of an operator, the slowest first.
std::vector<OperatorTime> by_operator(const std::vector<OperatorTime>& nodes) {
  std::vector<OperatorTime> sums;
  for (const OperatorTime& node : nodes) {
    auto found = std::ranges::find(sums, node.op, &OperatorTime::op);
    if (found == sums.end()) found = sums.insert(sums.end(), {node.op, {}, 0, 0});
    found->ms += node.ms;
    found->share += node.share;
  }
  std::ranges::stable_sort(sums, std::greater(), &OperatorTime::ms);
  return sums;
}

void add_operators(const BenchModel& model, Report& report) {
  Table table{"",
              printable(model.file) + ", by operator",
              {{"", "operator"},
               {"", "nodes", Unit::kCount},
               {"", "ms", Unit::kMilliseconds},
               {"", "share", Unit::kShare}},
              {},
              {}};
  for (const OperatorTime& o : by_operator(model.operators)) {
    const auto nodes = std::ranges::count(model.operators, o.op, &OperatorTime::op);
    table.rows.push_back({o.op, count_cell(static_cast<size_t>(nodes)), o.ms, o.share});
  }
  report.parts.emplace_back(std::move(table));
}

void add_profile(const BenchModel& model, Report& report) {
  if (model.operators.empty()) return;
  add_operators(model, report);
  Table table{"",
              printable(model.file) + ", by node",
              {{"", "operator"},
               {"", "node"},
               {"", "ms", Unit::kMilliseconds},
               {"", "share", Unit::kShare}},
              {},
              {}};
  for (const OperatorTime& o : model.operators) table.rows.push_back({o.op, o.name, o.ms, o.share});
  report.parts.emplace_back(std::move(table));
}

// JSON of --profile-ops: one flat list, each row with its file.
void add_profile_json(const BenchResults& bench, Report& report) {
  Table table{"operators",
              "",
              {{"file", ""}, {"operator", ""}, {"name", ""}, {"ms", ""}, {"share", ""}},
              {},
              {}};
  for (const BenchModel& model : bench.models) {
    for (const OperatorTime& o : model.operators)
      table.rows.push_back({model.file, o.op, o.name, o.ms, o.share});
  }
  if (!table.rows.empty()) report.parts.emplace_back(std::move(table));
}

// Runs that scatter tell more about what else the machine does than about the model.
void add_scatter(const BenchModel& model, Report& report) {
  constexpr double kSteady = 1.3;
  const double spread = model.timing.p95_ms / model.timing.median_ms;
  if (!(spread > kSteady)) return;
  report.notes.push_back(fmt::format(
      "warning: the runs of {} scatter: 5 % of them take more than {:.2f} times the median; a "
      "machine without other work, --threads 1 or more --seconds give steady times",
      printable(model.file), spread));
}

void add_ran_dense(const BenchModel& model, Report& report) {
  if (model.ran_dense.empty()) return;
  report.notes.push_back(fmt::format("{}: packed weights that run dense, as that is quicker: {}",
                                     printable(model.file), name_list(model.ran_dense)));
}

// bench: models side by side.
void add(const Results& results, Report& report) {
  if (!results.bench) return;
  const BenchResults& bench = *results.bench;
  add_machine(bench.machine, report);
  const bool paced = bench.interval_ms > 0;
  Table table{"models",
              "",
              {{"", "model"},
               {"file", ""},
               {"runtime", ""},
               {"inputs", "inputs"},
               {"runs", "runs", Unit::kCount},
               {"median_ms", "median ms", Unit::kMilliseconds},
               {"p95_ms", "p95 ms", Unit::kMilliseconds},
               {"min_ms", "min ms", Unit::kMilliseconds},
               {"peak_bytes", "memory", Unit::kBytes},
               {"speedup", "speedup", Unit::kRatio}},
              {},
              {}};
  if (paced) table.columns.push_back({"real_time_factor", "real time", Unit::kNumber});
  for (const BenchModel& m : bench.models) {
    const bool own = m.runtime == "espalier";
    table.rows.push_back({own ? m.file : fmt::format("{} ({})", m.file, m.runtime), m.file,
                          m.runtime, m.inputs, count_cell(m.timing.runs), m.timing.median_ms,
                          m.timing.p95_ms, m.timing.min_ms,
                          m.peak_bytes ? count_cell(*m.peak_bytes) : Cell(), m.speedup});
    if (paced) table.rows.back().emplace_back(m.timing.median_ms / bench.interval_ms);
  }
  report.parts.emplace_back(std::move(table));
  for (const BenchModel& model : bench.models) {
    add_ran_dense(model, report);
    add_scatter(model, report);
  }
  for (const BenchModel& model : bench.models) add_profile(model, report);
  add_profile_json(bench, report);
  if (paced) {
    report.notes.push_back(
        fmt::format("one run every {} ms, caches cooled in between; real time = median / interval",
                    format_number(bench.interval_ms)));
  }
}

}  // namespace

constinit const Section speed_section{"speed", add};

}  // namespace espalier
