#include "lib/verify/findings.h"

#include <doctest/doctest.h>

#include <cmath>

namespace espalier {
namespace {

Comparison off_by(double max_rel, bool ok) {
  OutputDifference difference;
  difference.name = "y";
  difference.max_rel = max_rel;
  difference.ok = ok;
  return {1, {difference}};
}

// Everything was looked at and agrees.
Findings sound() {
  Findings findings;
  findings.verified = true;
  findings.run.samples = 1;
  findings.run.packed = off_by(0, true);
  findings.read_back = ReadBack{1, 1, {}};
  findings.read_back_run = off_by(0, true);
  findings.output_bytes = 100;
  findings.speed.emplace();
  findings.speed->ms_dense = 2;
  findings.speed->ms_packed = 1;
  return findings;
}

TEST_CASE("a gap is where packed and decoded weights disagree, in memory first") {
  CHECK(gap_of(sound()) == Gap::kNone);
  Findings findings = sound();
  findings.run.packed = off_by(1e-3, false);
  CHECK(gap_of(findings) == Gap::kOutputs);
  findings.read_back_run = off_by(1e-3, false);
  CHECK(gap_of(findings) == Gap::kReadBackOutputs);
  findings.read_back->wrong = {"w"};
  CHECK(gap_of(findings) == Gap::kReadBack);
  findings.packing.wrong = {"w"};
  CHECK(gap_of(findings) == Gap::kPacking);
}

TEST_CASE("rounding is no gap, nor are outputs of models that were not run") {
  Findings findings = sound();
  findings.run.packed = off_by(0.9e-4, false);  // out of the elements' tolerance alone
  CHECK(gap_of(findings) == Gap::kNone);
  findings.run.packed = off_by(std::nan(""), false);
  CHECK(gap_of(findings) == Gap::kOutputs);
  findings.run.not_run = "the runtime does not support Op";
  CHECK(gap_of(findings) == Gap::kNone);
}

TEST_CASE("a model that makes more of rounding may make as much of packed weights") {
  Findings findings = sound();
  findings.run.packed = off_by(8e-4, false);
  findings.run.rounding = off_by(3e-4, false);
  CHECK(gap_of(findings) == Gap::kNone);
  findings.run.rounding = off_by(1e-4, true);
  CHECK(gap_of(findings) == Gap::kOutputs);
  findings.run.packed = off_by(std::nan(""), false);
  findings.run.rounding = off_by(std::nan(""), false);
  CHECK(gap_of(findings) == Gap::kOutputs);
}

TEST_CASE("the size verdict needs a file and a size to compare with") {
  CHECK(smaller(sound(), 101) == true);
  CHECK(smaller(sound(), 100) == false);
  CHECK_FALSE(smaller(sound(), 0).has_value());
  Findings findings = sound();
  findings.output_bytes.reset();
  CHECK_FALSE(smaller(findings, 100).has_value());
  findings = sound();
  findings.packing.wrong = {"w"};
  CHECK_FALSE(smaller(findings, 101).has_value());
}

TEST_CASE("accuracy is kept by all metrics that there are; without one only unpruned") {
  Findings findings = sound();
  CHECK_FALSE(accuracy_kept(findings, true).has_value());
  CHECK(accuracy_kept(findings, false) == true);
  findings.metric = MetricPair{"top1", 0.9, 0.895};
  CHECK(accuracy_kept(findings, true) == true);
  findings.command_metric = MetricPair{"metric-cmd", 0.9, 0.8};
  CHECK(accuracy_kept(findings, true) == false);
  findings.command_metric->b = std::nan("");
  CHECK(accuracy_kept(findings, true) == false);
  Findings not_run;
  not_run.run.not_run = "--no-verify";
  CHECK_FALSE(accuracy_kept(not_run, false).has_value());
}

TEST_CASE("the speed verdict is about what was measured") {
  CHECK(faster(sound()) == true);
  Findings findings = sound();
  findings.speed->ms_packed = 2;
  CHECK(faster(findings) == false);
  findings.run.not_run = "--no-verify";
  CHECK_FALSE(faster(findings).has_value());
  findings = sound();
  findings.speed.reset();
  CHECK_FALSE(faster(findings).has_value());
}

}  // namespace
}  // namespace espalier
