#include "apps/espalier/verdicts.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/format.h"
#include "lib/verify/verify.h"

namespace espalier {
namespace {

bool compressed(const PackJob& job) {
  const std::string name = job.output.string();
  return name.ends_with(".tgz") || name.ends_with(".tar.gz");
}

std::string shown(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::vector<std::string> first(
      names.begin(), names.begin() + static_cast<ptrdiff_t>(std::min(names.size(), kShown)));
  for (std::string& name : first) name = printable(name, 60);
  return fmt::format(
      "{}{}", fmt::join(first, ", "),
      names.size() > kShown ? fmt::format(" and {} more", names.size() - kShown) : "");
}

// Rows that were to be packed and are stored dense.
std::vector<std::string> stayed_dense(const PackJob& job) {
  std::vector<std::string> names;
  for (size_t i = 0; i < job.layers.size(); ++i) {
    if (job.rows[i].left_out.empty() && !weight_of(job.packed, job.layers[i]).is_sparse())
      names.push_back(job.rows[i].weight);
  }
  return names;
}

std::string why_not_smaller(const PackJob& job) {
  if (job.write.profile == "dense") return "the dense profile stores zeros like any other value";
  uint64_t before = 0, after = 0;
  bool any = false;
  for (const LayerResult& row : job.rows) {
    if (!row.left_out.empty()) continue;
    any = true;
    before += row.bytes_before;
    after += row.bytes_after;
  }
  if (!any) return "no weight was packed";
  if (after >= before)
    return "the kept blocks and their index take as many bytes as the dense weights";
  if (job.before.origin.format != format_for_output(job.output).name)
    return fmt::format("the weights take {} instead of {}, the rest is due to the other format",
                       format_bytes(after), format_bytes(before));
  return fmt::format("the weights take {} instead of {}, the rest grew", format_bytes(after),
                     format_bytes(before));
}

// A NaN is never within the tolerated drop.
bool kept(const MetricPair& m) {
  return metric_drop(m.name, m.a, m.b) <= tolerated_drop(m.name, m.a);
}

std::string metric_text(const MetricPair& m) {
  std::string text = fmt::format("{} {:.6g} -> {:.6g}", printable(m.name), m.a, m.b);
  if (!kept(m)) text += fmt::format(" (loss above {})", tolerated_text(m.name));
  if (m.magnitude) text += fmt::format(", by magnitude {:.6g}", *m.magnitude);
  return text;
}

// By the metrics, where there are any. Without one only a model whose weights are those of the
// input is known to be as accurate.
std::optional<bool> accuracy_kept(const PackJob& job, const Findings& findings) {
  if (findings.metric || findings.command_metric) {
    return (!findings.metric || kept(*findings.metric)) &&
           (!findings.command_metric || kept(*findings.command_metric));
  }
  if (job.pruned || !findings.run.not_run.empty()) return std::nullopt;
  return true;
}

std::string worst(const Comparison& comparison) {
  const double value = comparison.max_rel();
  return value == 0 ? "exactly" : fmt::format("to {:.1e}", value);
}

std::string gap_text(const Findings& findings) {
  if (!findings.packing.wrong.empty()) {
    return fmt::format("GAP: packed weights do not decode to what was packed: {}",
                       shown(findings.packing.wrong));
  }
  if (findings.read_back && !findings.read_back->wrong.empty()) {
    return fmt::format("GAP: weights in the written file differ: {}",
                       shown(findings.read_back->wrong));
  }
  if (findings.read_back_run && !agrees(*findings.read_back_run)) {
    return fmt::format("GAP: the written file computes other outputs, off by {:.1e}",
                       findings.read_back_run->max_rel());
  }
  return fmt::format("GAP: packed and decoded weights compute different outputs, off by {:.1e}",
                     findings.run.packed.max_rel());
}

std::string samples_text(const RunChecks& run) {
  return run.random ? std::string("random inputs")
                    : fmt::format("{} {}", run.samples, run.samples == 1 ? "sample" : "samples");
}

// Of weights that were not pruned.
std::string weights_text(size_t zero_signs) {
  std::string text = "every weight equals that of the input bit for bit";
  if (zero_signs == 0) return text;
  return fmt::format("{}, except for {} negative {}", text, zero_signs,
                     zero_signs == 1 ? "zero written as zero" : "zeros written as zeros");
}

// What was measured, one part after another.
std::vector<std::string> accuracy_parts(const PackJob& job, const Findings& findings) {
  std::vector<std::string> parts;
  if (findings.metric) parts.push_back(metric_text(*findings.metric));
  if (findings.command_metric) parts.push_back(metric_text(*findings.command_metric));
  if (!job.pruned && job.verify) parts.push_back(weights_text(findings.packing.zero_signs));
  if (!findings.run.not_run.empty()) {
    parts.push_back("outputs not compared: " + findings.run.not_run);
    return parts;
  }
  if (findings.run.cost) {
    const std::string first = output_names(job.before).at(0);
    for (const OutputDifference& o : findings.run.cost->outputs) {
      if (o.name != first) continue;
      parts.push_back(fmt::format("the output changes by {} (relative, {})",
                                  format_number(o.relative_error), samples_text(findings.run)));
    }
  }
  parts.push_back(
      fmt::format("packed and decoded agree {}{}", worst(findings.run.packed),
                  findings.run.cost ? "" : fmt::format(" ({})", samples_text(findings.run))));
  return parts;
}

}  // namespace

bool Findings::gap() const {
  return !packing.wrong.empty() || (run.not_run.empty() && !run.agrees()) ||
         (read_back && !read_back->wrong.empty()) || (read_back_run && !agrees(*read_back_run));
}

Verdict size_verdict(const PackJob& job, const Findings& findings) {
  const uint64_t before = job.before.origin.bytes;
  if (findings.gap()) return {"size", std::nullopt, "nothing was written"};
  if (!findings.output_bytes || before == 0) {
    return {"size", std::nullopt,
            "not written (dry run); the table shows the sizes of the weights"};
  }
  const uint64_t after = *findings.output_bytes;
  const std::string_view kind = any_packed(job.before) ? "input" : "dense";
  std::string text = fmt::format("{:.1f} % of the {} file: {} instead of {}{}",
                                 100 * static_cast<double>(after) / static_cast<double>(before),
                                 kind, format_bytes(after), format_bytes(before),
                                 compressed(job) ? " (gzip-compressed)" : "");
  if (after >= before) text += "; not smaller: " + why_not_smaller(job);
  return {"size", after < before, std::move(text)};
}

Verdict accuracy_verdict(const PackJob& job, const Findings& findings) {
  if (findings.gap()) return {"accuracy", false, gap_text(findings)};
  const std::string text = fmt::format("{}", fmt::join(accuracy_parts(job, findings), "; "));
  return {"accuracy", accuracy_kept(job, findings), text};
}

Verdict speed_verdict(const PackJob& job, const Findings& findings) {
  if (!findings.run.not_run.empty())
    return {"speed", std::nullopt, "not measured: " + findings.run.not_run};
  if (!findings.speed) {
    return {"speed", std::nullopt,
            any_packed(job.packed) ? "not measured" : "not measured: no weight is packed"};
  }
  const double dense = findings.speed->ms_dense, packed = findings.speed->ms_packed;
  const bool faster = packed < dense;
  return {"speed", faster,
          fmt::format("packed {} ms, dense {} ms: {:.2f}x {} in espalier's runtime",
                      format_number(packed), format_number(dense),
                      faster ? dense / packed : packed / dense, faster ? "faster" : "slower")};
}

std::vector<std::string> closing_notes(const PackJob& job, const Findings& findings) {
  std::vector<std::string> notes = job.notes;
  if (const auto dense = stayed_dense(job); !dense.empty() && job.write.profile != "dense") {
    notes.push_back(
        fmt::format("stored dense, because packing would not make them smaller: {}", shown(dense)));
  }
  if (findings.speed && !findings.speed->ran_dense.empty()) {
    notes.push_back(fmt::format("run dense, because the sparse kernels would be slower: {}",
                                shown(findings.speed->ran_dense)));
  }
  if (any_packed(job.packed) && job.write.profile != "dense") {
    notes.emplace_back(
        "Stock readers decode these files and run them at dense speed; only espalier's runtime "
        "uses the sparsity.");
  }
  return notes;
}

}  // namespace espalier
