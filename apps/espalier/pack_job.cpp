#include "apps/espalier/pack_job.h"

#include <fmt/format.h>

#include <algorithm>

#include "apps/espalier/command.h"
#include "apps/espalier/metric_command.h"
#include "apps/espalier/run_checks.h"
#include "apps/espalier/verdicts.h"
#include "apps/espalier/weights.h"
#include "lib/base/log.h"

namespace espalier {
namespace {

// The metric of --metric-cmd beside that of --metric.
struct Scores {
  std::optional<MetricPair> labelled, command;
};

// Writes, reads back and compares; says in `findings` what is wrong with the file, which then does
// not take the place of what there was.
void write_and_check(const PackJob& job, const CheckInputs& inputs, const ExecutorOptions& options,
                     RunChecks& checks, Findings& findings) {
  const auto read_back = [&](const std::filesystem::path& written) {
    const Stage stage("read back");
    Model read = read_model(written);
    read.origin.file = job.output.string();  // that it is going to be
    findings.read_back = compare_read_back(job.packed, read);
    const std::optional<Comparison> run = run_read_back(job, read, inputs, options, checks);
    if (run) findings.read_back_run = *run;
    return !findings.gap();
  };
  const Stage stage("write");
  write_model(job.packed, job.output, job.write, job.verify ? read_back : AcceptOutput());
}

void add_measurements(const RunChecks& checks, const std::optional<SpeedChecks>& speed,
                      std::vector<LayerResult>& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i < checks.output_errors.size()) rows[i].output_error = checks.output_errors[i];
    if (i < checks.magnitude_errors.size()) rows[i].magnitude_error = checks.magnitude_errors[i];
    if (speed) rows[i].ms_dense = speed->layer_dense[i];
    if (speed) rows[i].ms_sparse = speed->layer_packed[i];
  }
}

std::optional<SpeedChecks> speed_of(const PackJob& job, const CheckInputs& inputs,
                                    const ExecutorOptions& options, const RunChecks& checks) {
  // A model that nothing was packed of runs as it did.
  if (!checks.not_run.empty() || !any_packed(job.packed)) return std::nullopt;
  const Stage stage("measure speed");
  return measure_speed(job, inputs, options);
}

Results results_of(const PackJob& job, const Findings& findings) {
  Results results;
  results.command = job.command;
  PackResults& pack = results.pack.emplace();
  pack.input = {printable(job.input.string(), 4096), job.before.origin.format,
                job.before.origin.bytes};
  if (!job.dry_run) {
    pack.output.file = printable(job.output.string(), 4096);
    pack.output.bytes = findings.output_bytes;
  }
  pack.options = job.options;
  pack.layers = job.rows;
  pack.curve = job.curve;
  pack.metric = findings.metric ? findings.metric : findings.command_metric;
  results.verdicts = {size_verdict(job, findings), accuracy_verdict(job, findings),
                      speed_verdict(job, findings)};
  results.notes = closing_notes(job, findings);
  return results;
}

}  // namespace

// Verifies, writes, reads back, measures and reports a packed model. A gap removes the output and
// gives kOutOfTolerance.
int finish(PackJob job, const CommonOptions& common) {
  const ExecutorOptions options{.threads = common.threads};
  CheckInputs inputs;
  Findings findings;
  if (job.verify) {
    const Stage stage("verify");
    inputs = check_inputs(job, common);
    findings.packing = check_packing(job.masked, job.packed);
    findings.run = run_checks(job, inputs, options);
  } else {
    findings.run.not_run = "--no-verify";
  }
  if (!findings.run.not_run.empty() && labelled_metric(job.data)) {
    warn(fmt::format("the metric is not measured: {}", findings.run.not_run));
  }
  if (!job.data.metric_command.empty() && !job.dry_run) {
    const Stage stage("metric-cmd, before");
    findings.command_metric =
        MetricPair{"metric-cmd", run_metric_command(job.data.metric_command, job.input), 0};
  }
  if (!job.dry_run && !findings.gap()) {
    write_and_check(job, inputs, options, findings.run, findings);
    if (!findings.gap()) findings.output_bytes = size_on_disk(job.output);
  }
  if (!findings.gap()) {
    if (findings.command_metric) {
      const Stage stage("metric-cmd, after");
      findings.command_metric->b = run_metric_command(job.data.metric_command, job.output);
    }
    findings.speed = speed_of(job, inputs, options, findings.run);
  }
  findings.metric = findings.run.metric;
  add_measurements(findings.run, findings.speed, job.rows);
  emit(results_of(job, findings), common);
  return findings.gap() ? kOutOfTolerance : kDone;
}

LayerResult layer_row(const Layer& layer, const Weight& before, const Weight& after,
                      const std::string& profile) {
  LayerResult row;
  row.name = layer.node.empty() ? layer.weight : layer.node;
  row.weight = layer.weight;
  row.op = layer.op;
  row.type = name_of(layer.dtype);
  row.shape = layer.shape;
  row.matrix_rows = layer.fold.parts * layer.fold.rows;
  row.matrix_cols = layer.fold.cols;
  row.weights = layer.weights();
  row.left_out = layer.left_out;
  row.bytes_before = stored_bytes(before);
  row.bytes_after = stored_bytes(after, profile);
  if (after.is_sparse()) {
    const SparseMatrix& packed = after.sparse();
    row.block = to_string(packed.block);
    row.blocks = packed.fold.parts * packed.grid_rows() * packed.grid_cols();
    row.blocks_kept = packed.blocks();
    row.diagonal = packed.diagonal.count();
  }
  return row;
}

std::string resolved_profile(const std::filesystem::path& output, const std::string& profile) {
  if (output.empty()) return profile;
  const Format& format = format_for_output(output);
  if (profile.empty()) return std::string(format.profiles.front());
  if (std::ranges::count(format.profiles, std::string_view(profile)) == 0) {
    throw Error(Fault::kUsage,
                fmt::format("--profile {}: expected a profile of {} files: {}", printable(profile),
                            format.name, fmt::join(format.profiles, ", ")));
  }
  return profile;
}

void check_values_of(const std::filesystem::path& output, const std::string& profile,
                     const std::string& values) {
  if (output.empty() || values.empty() || profile == "dense") return;
  try {
    check_values(format_for_output(output), values);
  } catch (Error& error) {
    error.add_context("--values " + values);
    throw;
  }
}

}  // namespace espalier
