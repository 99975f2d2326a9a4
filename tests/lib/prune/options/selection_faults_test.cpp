#include "lib/prune/options/selection_faults.h"

#include <doctest/doctest.h>

#include "tests/lib/prune/prune_models.h"

using namespace espalier;
using namespace espalier::test;

namespace {

std::string faults(const PruneOptions& options) {
  std::string text;
  const Model model = mixed_model();
  for (const Unmatched& fault : unmatched_patterns(select_layers(model, options.select), options))
    text += fault.option + " " + fault.text + "\n";
  return text;
}

}  // namespace

TEST_CASE("patterns and operators that match nothing are found, each by itself") {
  PruneOptions options;
  options.select.operators = {"MatMul", "NoSuchOperator"};
  options.select.exclude = {"^mm", "^heda"};
  options.select.force = {"stft"};
  options.rules = {{"gru", {}}, {"lstm", {}}};
  CHECK(faults(options) == "op NoSuchOperator\nexclude ^heda\nforce stft\nlayer lstm\n");
  options.select.optional = {"NoSuchOperator", "^heda", "stft"};
  options.rules[1].optional = true;
  CHECK(faults(options).empty());
}

TEST_CASE("a pattern that matches a weight which is left out for another reason matches") {
  PruneOptions options;
  options.select.min_weights = 1'000'000;
  options.select.exclude = {"^mm"};
  CHECK(faults(options).empty());
}

TEST_CASE("where no weight is selected, each operator has its reason") {
  PruneOptions options;
  CHECK(why_none_is_selected(layers_with_reasons(mixed_model(), options)).empty());
  options.select.min_weights = 10'000;
  options.select.exclude = {"gemm"};
  options.rules = {{"gru.R", {}}};
  options.rules[0].options.skip = true;
  const std::string why = why_none_is_selected(layers_with_reasons(mixed_model(), options));
  CHECK(why.starts_with("GRU: too small: 2376 weights, expected at least 10000"));
  CHECK(why.find(" (and 1 more); Gemm: excluded by pattern \"gemm\"; MatMul: too small: 2800") !=
        std::string::npos);
  options.select = {};
  options.rules[0].pattern = ".";
  CHECK(why_none_is_selected(layers_with_reasons(mixed_model(), options))
            .starts_with("GRU: skipped by layer rule \".\" (and 1 more); Gemm: skipped by"));
  CHECK(why_none_is_selected({}) == "no operator of it multiplies by a constant weight");
}
