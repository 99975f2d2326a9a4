#include "lib/prune/choose/make_plan.h"
#include "lib/prune/score/criterion.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/prune/choose/choose_blocks.h"
#include "lib/prune/choose/masks.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/prune/refit/apply_plan.h"
#include "tests/lib/prune/prune_models.h"
#include "tests/lib/prune/some_statistics.h"

using namespace espalier;
using namespace espalier::test;

namespace {

PruneOptions options_of(BlockShape block, double sparsity) {
  PruneOptions options;
  options.block = block;
  options.sparsity = sparsity;
  return options;
}

LayerRule rule(std::string pattern, LayerOptions options) { return {std::move(pattern), options}; }

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Kept elements have the dense bits, dropped ones are +0, and as many weights went as were asked
// for.
void check_masked(const Model& model, const Model& masked, const LayerPlan& plan) {
  const Tensor before = dense_weight(model, plan.layer), after = dense_weight(masked, plan.layer);
  REQUIRE(before.shape() == after.shape());
  REQUIRE(before.dtype() == after.dtype());
  const Fold& fold = plan.layer.fold;
  size_t dropped = 0;
  for (size_t p = 0; p < fold.parts; ++p) {
    for (size_t r = 0; r < fold.rows; ++r) {
      for (size_t c = 0; c < fold.cols; ++c) {
        const size_t at = fold.offset(p, r, c);
        const bool kept = plan.mask.at(p, r, c) || (plan.diagonal && r == c);
        REQUIRE(bits_at(after, at) == (kept ? bits_at(before, at) : 0));
        dropped += kept ? 0 : 1;
      }
    }
  }
  const size_t diagonal = plan.diagonal ? fold.parts * fold.rows : 0;
  const double asked = plan.sparsity * static_cast<double>(fold.count() - diagonal);
  if (!plan.nm) CHECK(std::abs(static_cast<double>(dropped) - asked) <= plan.block.area());
}

double dropped_share(const LayerPlan& plan, size_t part) {
  size_t kept = 0;
  const size_t n = plan.mask.grid_rows() * plan.mask.grid_cols();
  for (size_t i = 0; i < n; ++i) kept += plan.mask.kept[part * n + i] ? 1 : 0;
  return 1 - static_cast<double>(kept) / static_cast<double>(n);
}

}  // namespace

TEST_CASE("pruning keeps kept bits, reaches the share, leaves diagonals whole") {
  ThreadPool pool(2);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Model model = mixed_model(1, dtype);
    for (const BlockShape block :
         {BlockShape{16, 1}, {16, 4}, {1, 1}, {8, 4}, {4, 8}, {1, 4}, {5, 3}}) {
      for (const double sparsity : {0.0, 0.5, 0.9, 1.0}) {
        for (const bool keep_diagonal : {true, false}) {
          PruneOptions options = options_of(block, sparsity);
          options.keep_diagonal = keep_diagonal;
          const PrunePlan plan = make_plan(model, options, pool);
          const Model masked = apply_plan(model, plan, pool);
          REQUIRE(plan.layers.size() == 4);
          CHECK(find_layer(plan, "gru.R").diagonal == keep_diagonal);
          for (const LayerPlan& layer : plan.layers) check_masked(model, masked, layer);
        }
      }
    }
  }
}

TEST_CASE("every method gives the same plan on any number of threads") {
  const Model model = mixed_model();
  ThreadPool one(1), two(2), three(3);
  for (const Criterion* criterion : criteria()) {
    for (const char* scope : {"layer", "global"}) {
      PruneOptions options = options_of({4, 1}, 0.6);
      options.method = std::string(criterion->name);
      options.scope = scope;
      const Statistics statistics = some_statistics(model, select_layers(model, options.select));
      const PrunePlan plan = make_plan(model, options, one, &statistics);
      for (ThreadPool* pool : {&two, &three}) {
        const PrunePlan other = make_plan(model, options, *pool, &statistics);
        const Model a = pack_weights(model, plan, one), b = pack_weights(model, other, *pool);
        for (size_t i = 0; i < plan.layers.size(); ++i) {
          CHECK(plan.layers[i].mask == other.layers[i].mask);
          CHECK(same_bits(dense_weight(a, plan.layers[i].layer),
                          dense_weight(b, plan.layers[i].layer)));
        }
      }
    }
  }
}

TEST_CASE("random: another seed, another plan; layers differ though their weights do not") {
  ModelBuilder b;
  ValueId x = b.input("x");
  const Tensor same = random_tensor({64, 64}, 1);
  x = b.matmul("a", x, same);
  b.model.graph.outputs = {b.matmul("b", x, same)};
  PruneOptions options = options_of({4, 1}, 0.5);
  options.method = "random";
  ThreadPool pool(1);
  const PrunePlan first = make_plan(b.model, options, pool);
  CHECK(first.layers[0].mask != first.layers[1].mask);
  options.seed = 1;
  CHECK(make_plan(b.model, options, pool).layers[0].mask != first.layers[0].mask);
}

TEST_CASE("the lowest sums of squares go") {
  ModelBuilder b;
  std::vector<float> values(32 * 4);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 4 + 1);
  b.model.graph.outputs = {
      b.matmul("m", b.input("x"), Tensor::of<float>({4, 32}, values))};  // [inputs, outputs]
  for (size_t i = 0; i < 32; ++i) values[i] = 0.5F;                      // input 0 is weakest
  b.model.graph.weights.begin()->second.value = Tensor::of<float>({4, 32}, values);
  PruneOptions options = options_of({16, 1}, 0.25);
  options.select.min_weights = 1;
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(b.model, options, pool);
  CHECK(plan.layers[0].mask.kept ==
        std::vector<bool>{false, true, true, true, false, true, true, true});
}

TEST_CASE(
    "global scope spends the share where weights are small, block sizes compared per weight") {
  ModelBuilder b;
  ValueId x = b.input("x");
  std::vector<float> small(64 * 64, 0.1F), large(64 * 64, 1.0F);
  x = b.matmul("small", x, Tensor::of<float>({64, 64}, small));
  b.model.graph.outputs = {b.matmul("large", x, Tensor::of<float>({64, 64}, large))};
  PruneOptions options = options_of({1, 1}, 0.5);
  options.scope = "global";
  LayerOptions big;
  big.block = BlockShape{64, 64};  // its block's sum is 4096 times that of one small weight
  options.rules = {rule("^small", big)};
  ThreadPool pool(2);
  for (const char* method : {"l1", "l2", "max"}) {
    options.method = method;
    const PrunePlan plan = make_plan(b.model, options, pool);
    CHECK(plan.layers[0].mask.kept_blocks() == 0);
    CHECK(plan.layers[1].mask.kept_blocks() == 64 * 64);
  }
  options.method = "l2";
  LayerOptions other;
  other.method = "l1";
  options.rules.push_back(rule("^large", other));
  CHECK(has(fault_text(Fault::kUsage, [&] { make_plan(b.model, options, pool); }), "one method"));
}

TEST_CASE("rules: later ones win, targets of their own stay out of the global share") {
  const Model model = mixed_model();
  ThreadPool pool(1);
  PruneOptions options = options_of({8, 1}, 0.5);
  LayerOptions a, b, c, d;
  a.sparsity = 0.9;
  a.block = BlockShape{4, 1};
  b.sparsity = 0.2;
  c.skip = true;
  d.nm = NofM{1, 4};
  options.rules = {rule("^gru", a), rule("R$", b), rule("gemm", c), rule("mm.w$", d)};
  options.rules.back().pattern = "^mm";
  const PrunePlan plan = make_plan(model, options, pool);
  CHECK(find_layer(plan, "gru.W").sparsity == 0.9);
  CHECK(find_layer(plan, "gru.R").sparsity == 0.2);
  CHECK(find_layer(plan, "gru.R").block == BlockShape{4, 1});
  CHECK(has(find_layer(plan, "gemm.w").layer.left_out, "skipped by layer rule \"gemm\""));
  CHECK(find_layer(plan, "mm.w").sparsity == 0.75);
  CHECK(find_layer(plan, "mm.w").block == BlockShape{1, 1});
  CHECK(dropped_share(find_layer(plan, "mm.w"), 0) == doctest::Approx(0.75));
  const Model masked = apply_plan(model, plan, pool);
  for (const LayerPlan& layer : plan.layers) {
    if (layer.layer.left_out.empty()) check_masked(model, masked, layer);
  }

  options.rules = {rule("gru.X", a)};
  CHECK(has(fault_text(Fault::kUsage, [&] { make_plan(model, options, pool); }),
            "\"gru.X\" matches no prunable weight"));
  options.rules = {rule("(", a)};
  CHECK(has(fault_text(Fault::kUsage, [&] { make_plan(model, options, pool); }), "\"(\""));
  options.rules = {};
  options.sparsity = std::nan("");
  CHECK(has(fault_text(Fault::kUsage, [&] { make_plan(model, options, pool); }), "sparsity"));
}

TEST_CASE("gate densities: one per gate in the operator's order, each gate on its own") {
  const Model model = mixed_model();
  ThreadPool pool(2);
  PruneOptions options = options_of({4, 1}, 0.5);
  LayerOptions gates;
  gates.gate_density = {0.05, 0.25, 0.5};
  options.rules = {rule("^gru.W", gates)};
  const LayerPlan plan = find_layer(make_plan(model, options, pool), "gru.W");
  CHECK(dropped_share(plan, 0) == doctest::Approx(0.95).epsilon(0.01));
  CHECK(dropped_share(plan, 1) == doctest::Approx(0.75).epsilon(0.01));
  CHECK(dropped_share(plan, 2) == doctest::Approx(0.50).epsilon(0.01));
  options.rules = {rule("^mm", gates)};
  const std::string text = fault_text(Fault::kUsage, [&] { make_plan(model, options, pool); });
  CHECK(has(text, "mm.w: 3 gate densities given, a MatMul has 1"));
}

TEST_CASE("packing gives the masked weights back, with and without applying the plan first") {
  const Model model = mixed_model();
  for (const size_t threads : {1U, 3U}) {
    ThreadPool pool(threads);
    for (const BlockShape block : {BlockShape{16, 1}, {8, 4}, {5, 3}}) {
      const PrunePlan plan = make_plan(model, options_of(block, 0.8), pool);
      const Model masked = apply_plan(model, plan, pool);
      const Model packed = pack_weights(masked, plan, pool);
      const Model directly = pack_weights(model, plan, pool);
      for (const LayerPlan& layer : plan.layers) {
        const Weight& weight = weight_of(packed, layer.layer);
        REQUIRE(weight.is_sparse());
        CHECK(weight.sparse().block == block);
        CHECK(weight.sparse().has_diagonal() == layer.diagonal);
        CHECK(packed_bytes(weight.sparse()) <
              masked.graph.weights.at(layer.layer.value).dense().bytes().size());
        CHECK(same_bits(decode(weight.sparse()), dense_weight(masked, layer.layer)));
        CHECK(same_bits(dense_weight(directly, layer.layer), dense_weight(masked, layer.layer)));
      }
      const Model decoded = decode_weights(packed);
      for (const LayerPlan& layer : plan.layers)
        CHECK(
            same_bits(weight_of(decoded, layer.layer).dense(), dense_weight(masked, layer.layer)));
    }
  }
}

TEST_CASE("what packing would not make smaller stays dense and masked") {
  const Model model = mixed_model();
  ThreadPool pool(2);
  const PrunePlan plan = make_plan(model, options_of({1, 1}, 0.02), pool);
  const Model packed = pack_weights(model, plan, pool);
  const Model masked = apply_plan(model, plan, pool);
  for (const LayerPlan& layer : plan.layers) {
    REQUIRE_FALSE(weight_of(packed, layer.layer).is_sparse());
    CHECK(same_bits(weight_of(packed, layer.layer).dense(), dense_weight(masked, layer.layer)));
  }
}

TEST_CASE("f16 values: rounded, half as large, still an f32 weight") {
  const Model model = mixed_model();
  ThreadPool pool(1);
  PruneOptions options = options_of({16, 1}, 0.5);
  options.values = "f16";
  const PrunePlan plan = make_plan(model, options, pool);
  const Model packed = pack_weights(model, plan, pool), masked = apply_plan(model, plan, pool);
  for (const LayerPlan& layer : plan.layers) {
    const SparseMatrix& matrix = weight_of(packed, layer.layer).sparse();
    CHECK(matrix.values.dtype() == DType::kF16);
    CHECK(matrix.dtype == DType::kF32);
    const std::vector<float> got = to_f32(decode(matrix)),
                             want = to_f32(dense_weight(masked, layer.layer));
    for (size_t i = 0; i < got.size(); ++i)
      REQUIRE(got[i] == doctest::Approx(want[i]).epsilon(0x1p-11));
  }
}

TEST_CASE("values of bf16 and i8, asked for in prune or of what is packed already") {
  ThreadPool pool(1);
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    const Model model = mixed_model(4, dtype);
    PruneOptions options = options_of({16, 1}, 0.5);
    const PrunePlan plan = make_plan(model, options, pool);
    for (const DType values : {DType::kBF16, DType::kI8}) {
      PrunePlan narrow = plan;
      narrow.options.values = name_of(values);
      const Model packed = pack_weights(model, narrow, pool);
      const Model later = with_packed_values(pack_weights(model, plan, pool), name_of(values));
      for (const LayerPlan& layer : plan.layers) {
        const SparseMatrix& matrix = weight_of(packed, layer.layer).sparse();
        CHECK(matrix.values.dtype() == values);
        CHECK(matrix.dtype == dtype);
        CHECK(same_bits(matrix.values, weight_of(later, layer.layer).sparse().values));
        CHECK((matrix.scale.count() != 0) == (values == DType::kI8));
        const Tensor masked = dense_weight(apply_plan(model, plan, pool), layer.layer);
        CHECK(same_bits(decode(matrix), decode(with_values(pack_blocks(masked, layer.layer.fold,
                                                                       layer.mask, layer.diagonal),
                                                           values))));
      }
      CHECK(same_bits(dense_weight(with_packed_values(packed, ""), plan.layers[0].layer),
                      dense_weight(packed, plan.layers[0].layer)));
    }
  }
}

TEST_CASE("i8 pays its scale: what would not be smaller stays dense") {
  ThreadPool pool(1);
  for (const int64_t inputs : {1, 2, 8}) {
    ModelBuilder b;
    b.model.graph.outputs = {b.matmul("m", b.input("x"), random_tensor({inputs, 64}, 1))};
    PruneOptions options = options_of({16, 1}, 0);
    options.select.min_weights = 1;
    options.values = "i8";
    const PrunePlan plan = make_plan(b.model, options, pool);
    const Model packed = pack_weights(b.model, plan, pool);
    const Weight& weight = weight_of(packed, plan.layers[0].layer);
    // Each output: 4 bytes an input as f32; 1 and a sixteenth of 4, and 4 of scale as i8.
    CHECK(weight.is_sparse() == (inputs >= 2));
  }
}

TEST_CASE("a value that does not fit into f16 is an error that names the weight") {
  ModelBuilder b;
  b.model.graph.outputs = {
      b.matmul("m", b.input("x"), Tensor::of<float>({32, 32}, std::vector<float>(1024, 1e6F)))};
  ThreadPool pool(2);
  PruneOptions options = options_of({16, 1}, 0.5);
  options.values = "f16";
  const PrunePlan plan = make_plan(b.model, options, pool);
  const std::string text = fault_text(Fault::kFormat, [&] { pack_weights(b.model, plan, pool); });
  CHECK(has(text, "m.w"));
}

TEST_CASE("NaN weights are kept") {
  std::vector<float> values(64 * 64, 1.0F);
  for (size_t i = 0; i < values.size(); i += 97) values[i] = std::nanf("");
  ModelBuilder b;
  b.model.graph.outputs = {b.matmul("m", b.input("x"), Tensor::of<float>({64, 64}, values))};
  ThreadPool pool(1);
  for (const Criterion* criterion : criteria()) {
    PruneOptions options = options_of({1, 1}, 0.9);
    options.method = std::string(criterion->name);
    const Statistics statistics = some_statistics(b.model, select_layers(b.model, options.select));
    const PrunePlan plan = make_plan(b.model, options, pool, &statistics);
    const Tensor after = dense_weight(apply_plan(b.model, plan, pool), plan.layers[0].layer);
    for (size_t i = 0; i < values.size(); i += 97) CHECK(std::isnan(after.data<float>()[i]));
  }
}

TEST_CASE("a packed weight is pruned further") {
  const Model model = mixed_model();
  ThreadPool pool(2);
  const Model packed = pack_weights(model, make_plan(model, options_of({16, 1}, 0.5), pool), pool);
  const PrunePlan plan = make_plan(packed, options_of({16, 1}, 0.8), pool);
  const Model further = pack_weights(packed, plan, pool);
  const Model straight =
      pack_weights(model, make_plan(model, options_of({16, 1}, 0.8), pool), pool);
  for (const LayerPlan& layer : plan.layers) {
    REQUIRE(weight_of(further, layer.layer).is_sparse());
    CHECK(same_bits(dense_weight(further, layer.layer), dense_weight(straight, layer.layer)));
  }
}

TEST_CASE("kept blocks of zeros alone are not stored") {
  std::vector<float> values(64 * 64, 0.0F);
  values[0] = 1;
  values[100] = 2;
  ModelBuilder b;
  b.model.graph.outputs = {b.matmul("m", b.input("x"), Tensor::of<float>({64, 64}, values))};
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(b.model, options_of({16, 1}, 0.1), pool);
  const Model packed = pack_weights(b.model, plan, pool);
  CHECK(weight_of(packed, plan.layers[0].layer).sparse().blocks() == 2);
}

TEST_CASE("zeros that are there are packed without losing a bit") {
  ThreadPool pool(2);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Model model = mixed_model(4, dtype);
    const Model masked = apply_plan(model, make_plan(model, options_of({16, 1}, 0.9), pool), pool);
    for (const std::optional<BlockShape> block :
         {std::optional<BlockShape>(), std::optional<BlockShape>({8, 1}),
          std::optional<BlockShape>({5, 3})}) {
      const Model packed = pack_existing(masked, block, pool);
      for (const Layer& layer : select_layers(masked, {})) {
        const Weight& weight = weight_of(packed, layer);
        if (!block) REQUIRE(weight.is_sparse());
        if (block && weight.is_sparse()) CHECK(weight.sparse().block == *block);
        CHECK(same_bits(dense_weight(packed, layer), dense_weight(masked, layer)));
        if (!block && layer.square) CHECK(weight.sparse().has_diagonal());
      }
      const Model again = pack_existing(packed, BlockShape{4, 1}, pool);
      for (const Layer& layer : select_layers(masked, {}))
        CHECK(same_bits(dense_weight(again, layer), dense_weight(masked, layer)));
    }
    const Model nothing = pack_existing(model, {}, pool);
    for (const Layer& layer : select_layers(model, {}))
      CHECK_FALSE(weight_of(nothing, layer).is_sparse());
  }
}

TEST_CASE("a plan moves to another checkpoint by names") {
  const Model model = mixed_model(1), other = mixed_model(50);
  ThreadPool pool(1);
  const PrunePlan plan = make_plan(model, options_of({16, 1}, 0.5), pool);
  const PrunePlan moved = retarget(plan, other);
  const Model masked = apply_plan(other, moved, pool);
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    CHECK(moved.layers[i].mask == plan.layers[i].mask);
    check_masked(other, masked, moved.layers[i]);
  }
  ModelBuilder lacks, differs;
  lacks.model.graph.outputs = {lacks.matmul("other", lacks.input("x"), random_tensor({40, 70}, 1))};
  CHECK(has(fault_text(Fault::kFormat, [&] { retarget(plan, lacks.model); }),
            "weight mm.w: the model has no such"));
  differs.model.graph.outputs = {
      differs.matmul("mm", differs.input("x"), random_tensor({40, 71}, 1))};
  CHECK(has(fault_text(Fault::kFormat, [&] { retarget(plan, differs.model); }),
            "has shape [40, 71], in the pruned model [40, 70]"));
}
