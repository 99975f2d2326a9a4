#include "apps/espalier/verdicts.h"

#include <doctest/doctest.h>

#include "lib/sparse/pack.h"

using namespace espalier;

namespace {

// x times a packed weight.
Model packed_model() {
  Model model;
  model.origin.format = "onnx";
  const ValueId x = add_value(model.graph, "x"), w = add_value(model.graph, "w"),
                y = add_value(model.graph, "y");
  const std::vector<float> values{1, 0, 0, 0};
  const Tensor dense = Tensor::of<float>({2, 2}, values);
  const Fold fold{1, 2, 2, true};
  model.graph.inputs = {x}, model.graph.outputs = {y};
  model.graph.weights[w].value =
      pack_blocks(dense, fold, nonzero_blocks(dense, fold, {1, 1}, false), false);
  model.graph.nodes.push_back({"MatMul", "", "m", {x, w}, {y}, {}, {}});
  return model;
}

}  // namespace

TEST_CASE("no speed is reported for a written file that the runtime cannot run") {
  PackedModels models;
  models.before = models.masked = models.packed = packed_model();
  Destination destination;
  destination.output = "out.nnef.tgz";
  destination.write.profile = "tract";
  Findings findings;
  findings.file_not_run = "the runtime does not support nnef.tract_core_scan";
  const Judged judged{models, destination, findings};
  const Verdict speed = speed_verdict(judged);
  CHECK_FALSE(speed.ok.has_value());
  CHECK(speed.text ==
        "not measured: the runtime does not support nnef.tract_core_scan, as the written file "
        "spells the model");
  CHECK(closing_notes(judged).back().ends_with("; espalier's runtime does not run this file."));
  findings.file_not_run.clear();
  CHECK(speed_verdict(judged).text == "not measured");
  CHECK(closing_notes(judged).back().ends_with("; only espalier's runtime uses the sparsity."));
}
