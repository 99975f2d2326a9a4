#include <fmt/format.h>

#include "lib/report/results.h"

namespace espalier {
namespace {

// Every report: what ran, when, where, on which files. For JSON and pages; a terminal shows a run to
// who started it.
void add(const Results& results, Report& report) {
  if (!results.run) return;
  const RunInfo& run = *results.run;
  report.parts.emplace_back(Record{"run",
                                   {{"version", run.version},
                                    {"commit", run.commit},
                                    {"command", cell_or_null(run.command)},
                                    {"date", run.date},
                                    {"seed", count_cell(run.seed)},
                                    {"threads", count_cell(run.machine.threads)},
                                    {"model_sha256", cell_or_null(run.model_sha256)},
                                    {"data_sha256", cell_or_null(run.data_sha256)}}});
  report.parts.emplace_back(Record{"run.machine",
                                   {{"processor", run.machine.processor},
                                    {"simd", run.machine.simd},
                                    {"threads", count_cell(run.machine.threads)}}});
  Record libraries{"run.libraries", {}};
  for (const auto& [name, version] : run.libraries) libraries.fields.emplace_back(name, version);
  report.parts.emplace_back(std::move(libraries));
  if (!run.command.empty()) report.about.emplace_back("command", run.command);
  report.about.emplace_back("date", run.date);
  report.about.emplace_back("version",
                            fmt::format("espalier {}, commit {}", run.version, run.commit));
  report.about.emplace_back(
      "machine", fmt::format("{}, {}, {} {}", run.machine.processor, run.machine.simd,
                             run.machine.threads, run.machine.threads == 1 ? "thread" : "threads"));
  if (!run.model_sha256.empty()) report.about.emplace_back("model, SHA-256", run.model_sha256);
  if (!run.data_sha256.empty()) report.about.emplace_back("data, SHA-256", run.data_sha256);
}

}  // namespace

constinit const Section run_section{"run", add};

}  // namespace espalier
