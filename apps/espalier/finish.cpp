#include "apps/espalier/finish.h"

#include <fmt/format.h>

#include "apps/espalier/command.h"
#include "apps/espalier/metric_command.h"
#include "apps/espalier/verdicts.h"
#include "lib/base/log.h"
#include "lib/ir/named_weights.h"

namespace espalier {
namespace {

// Writes, reads back and compares; says in `findings` what is wrong with the file, which then does
// not take the place of what there was.
void write_and_check(const PackedModels& models, const Evaluation& evaluation,
                     const Destination& destination, bool verify, const ExecutorOptions& options,
                     Findings& findings) {
  const auto read_back = [&](const std::filesystem::path& written) {
    const Stage stage("read back");
    Model read = read_model(written);
    read.origin.file = destination.output.string();  // that it is going to be
    findings.read_back = compare_read_back(models.packed, read, literals_are_named(read));
    if (findings.run.not_run.empty()) {
      findings.file_not_run = lacking_operators(read);
      const auto run = run_read_back(models, read, evaluation, options);
      if (run) findings.read_back_run = run->comparison;
      if (run && run->metric) findings.run.metric->b = *run->metric;
    }
    return gap_of(findings) == Gap::kNone;
  };
  const Stage stage("write");
  write_model(models.packed, destination.output, destination.write,
              verify ? read_back : AcceptOutput());
  if (gap_of(findings) == Gap::kNone) findings.output_bytes = size_on_disk(destination.output);
}

void add_measurements(const Findings& findings, std::vector<LayerResult>& rows) {
  const RunChecks& run = findings.run;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i < run.output_errors.size()) rows[i].output_error = run.output_errors[i];
    if (i < run.magnitude_errors.size()) rows[i].magnitude_error = run.magnitude_errors[i];
    if (findings.speed) rows[i].ms_dense = findings.speed->layer_dense[i];
    if (findings.speed) rows[i].ms_sparse = findings.speed->layer_packed[i];
  }
}

std::optional<SpeedChecks> speed_of(const PackedModels& models, const Evaluation& evaluation,
                                    const ExecutorOptions& options, const RunChecks& checks) {
  // A model that nothing was packed of runs as it did.
  if (!checks.not_run.empty() || !any_packed(models.packed)) return std::nullopt;
  const Stage stage("measure speed");
  return measure_speed(models, evaluation, options, Rounds::kUntilSteady);
}

}  // namespace

Findings findings_of(const PackedModels& models, const Evaluation& evaluation,
                     const Destination& destination, const std::filesystem::path& input,
                     const Judging& judging, const ExecutorOptions& options, bool timed) {
  Findings findings;
  findings.limit = judging.assert_drop;
  constexpr double kWrite = 0.5, kTiming = 3;  // about so many seconds
  Progress progress("check", ExpectedSeconds{{0, kWrite, timed ? kTiming : 0}});
  if (judging.verify) {
    const Stage stage("verify");
    findings.verified = true;
    ThreadPool pool(options.threads);
    findings.packing = check_packing(models.masked, models.packed, &pool);
    findings.run = run_checks(models, evaluation, options);
  } else {
    findings.run.not_run = "--no-verify";
  }
  progress.step();
  if (!findings.run.not_run.empty() && evaluation.labels)
    warn(fmt::format("the metric is not measured: {}", findings.run.not_run));
  const bool commands = !judging.metric_command.empty() && !destination.dry_run;
  if (commands) {
    const Stage stage("metric-cmd, before");
    const double before = judging.command_before
                              ? *judging.command_before
                              : run_metric_command(judging.metric_command, input);
    findings.command_metric = MetricPair{"metric-cmd", before, 0};
  }
  if (!destination.dry_run && gap_of(findings) == Gap::kNone)
    write_and_check(models, evaluation, destination, judging.verify, options, findings);
  progress.step();
  findings.metric = findings.run.metric;
  if (gap_of(findings) != Gap::kNone) return findings;
  if (commands) {
    const Stage stage("metric-cmd, after");
    findings.command_metric->b = run_metric_command(judging.metric_command, destination.output);
  }
  if (timed && findings.file_not_run.empty())
    findings.speed = speed_of(models, evaluation, options, findings.run);
  return findings;
}

namespace {

// What was found in the form of the report.
Results results_of(const Judged& judged, Heading heading) {
  const auto& [models, destination, findings] = judged;
  Results results;
  results.command = std::move(heading.command);
  results.run = std::move(heading.run);
  PackResults& pack = results.pack.emplace();
  pack.input = {printable(heading.input.string(), 4096), models.before.origin.format,
                models.before.origin.bytes};
  if (!destination.dry_run) {
    pack.output.file = printable(destination.output.string(), 4096);
    pack.output.bytes = findings.output_bytes;
  }
  pack.options = std::move(heading.options);
  results.verdicts = {size_verdict(judged, heading.rows), accuracy_verdict(judged),
                      speed_verdict(judged)};
  pack.layers = std::move(heading.rows);
  add_measurements(findings, pack.layers);
  pack.curve = std::move(heading.curve);
  pack.masks = std::move(heading.masks);
  pack.metric_limit = heading.metric_limit;
  pack.reached_sparsity = heading.reached_sparsity;
  pack.reached_values = heading.reached_values;
  if (findings.speed) {
    const SpeedChecks& speed = *findings.speed;
    pack.speed = PackSpeed{speed.ms_dense, speed.ms_packed, speed.spread,
                           results.run->machine.threads, speed.runs};
  }
  pack.metric = findings.metric ? findings.metric : findings.command_metric;
  results.notes = std::move(heading.notes);
  for (std::string& note : closing_notes(judged)) results.notes.push_back(std::move(note));
  return results;
}

}  // namespace

int finish(const PackedModels& models, const Evaluation& evaluation, const Destination& destination,
           Heading heading, const Judging& judging, const CommonOptions& common) {
  const Findings findings = findings_of(models, evaluation, destination, heading.input, judging,
                                        {.threads = common.threads});
  emit(results_of({models, destination, findings}, std::move(heading)), common);
  const bool lost_more = findings.limit && accuracy_kept(findings, models.pruned) == false;
  return gap_of(findings) == Gap::kNone && !lost_more ? kDone : kOutOfTolerance;
}

}  // namespace espalier
