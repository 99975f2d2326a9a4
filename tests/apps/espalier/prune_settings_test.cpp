#include "apps/espalier/prune_settings.h"

#include <doctest/doctest.h>

#include <functional>

#include "lib/base/error.h"
#include "tests/support/temporary_folder.h"

using namespace espalier;

namespace {

/// Files that exist: what prune_settings looks at is whether they can be read, not what they hold.
struct Files {
  TemporaryFolder folder;

  std::string file(const std::string& name, const std::string& text = "x") const {
    const std::string path = (folder.path() / name).string();
    write_text(path, text);
    return path;
  }

  PruneArgs line() const {
    PruneArgs args;
    args.input = file("in.onnx");
    args.output = (folder.path() / "out.onnx").string();
    return args;
  }
};

/// What the line is refused with; "" where it is taken. Any other kind of fault fails the test.
std::string refusal(const PruneArgs& args) {
  try {
    prune_settings(args);
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kUsage);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a line with files alone prunes by magnitude, layer by layer") {
  const Files files;
  const PruneSettings settings = prune_settings(files.line());
  const PruneOptions& options = settings.request.options;
  CHECK(options.method == "l2");
  CHECK(options.scope == "layer");
  CHECK(options.block == BlockShape{16, 1});
  CHECK(options.sparsity == 0.5);
  CHECK(settings.by_magnitude_unasked);
  CHECK(settings.verify);
  CHECK(settings.evaluation.run);
  CHECK(settings.calib.kind == CalibrationSource::Kind::kNone);
  CHECK_FALSE(max_drop_of(settings));
}

TEST_CASE("calibration inputs choose the method and the scope that need them") {
  const Files files;
  PruneArgs args = files.line();
  args.calib = files.file("feeds.npz");
  const PruneSettings settings = prune_settings(args);
  CHECK(settings.calib.kind == CalibrationSource::Kind::kInputs);
  CHECK(settings.request.options.method == "obs");
  CHECK(settings.request.options.scope == "sensitivity");
  CHECK(settings.evaluation.path == args.calib);  // nothing else was given to run on
  CHECK_FALSE(settings.by_magnitude_unasked);

  args.layers = {"head:method=l2"};
  CHECK(prune_settings(args).request.options.scope == "layer");  // methods are mixed
  args.layers.clear();
  args.eval = files.file("eval.npz");
  CHECK(prune_settings(args).evaluation.path == args.eval);
}

TEST_CASE("the line wins over the recipe, the recipe over defaults") {
  const Files files;
  PruneArgs args = files.line();
  args.recipe = files.file("recipe.json", R"({"nm": "2:4", "method": "l1", "min_weights": 7})");
  PruneOptions options = prune_settings(args).request.options;
  CHECK(options.nm);
  CHECK(options.method == "l1");
  CHECK(options.select.min_weights == 7);
  CHECK(options.scope == "layer");  // neither says one

  args.method = "max";
  CHECK(prune_settings(args).request.options.method == "max");

  SUBCASE("a block of the line ends N:M of the recipe") { args.block = "4x8"; }
  SUBCASE("so does a sparsity of the line") { args.sparsity = 0.9; }
  options = prune_settings(args).request.options;
  CHECK_FALSE(options.nm);
  CHECK(options.block == (args.block.empty() ? BlockShape{16, 1} : BlockShape{4, 8}));
  CHECK(options.sparsity == (args.sparsity ? 0.9 : 0.5));
}

TEST_CASE("a target of the line takes the place of the recipe's") {
  const Files files;
  PruneArgs args = files.line();
  args.recipe = files.file("recipe.json", R"({"target_size": 1000})");
  CHECK(prune_settings(args).request.options.target->kind == PruneTarget::Kind::kSize);
  args.sparsity = 0.7;
  CHECK_FALSE(prune_settings(args).request.options.target);

  args.sparsity.reset();
  args.eval = files.file("eval.npz");
  args.data.labels = files.file("labels.npy");
  args.max_drop = "1%";
  const std::optional<DropLimit> limit = max_drop_of(prune_settings(args));
  REQUIRE(limit);
  CHECK(limit->share);
  CHECK(limit->value == doctest::Approx(0.01));
}

TEST_CASE("a step of a schedule is a sparsity, and the schedule is over") {
  const Files files;
  PruneArgs args = files.line();
  args.sparsity = 0.8;
  args.schedule = "cubic:start=0.2,steps=4";
  args.at_step = 4;
  const PruneOptions last = prune_settings(args).request.options;
  CHECK(last.sparsity == doctest::Approx(0.8));
  CHECK_FALSE(last.schedule);
  args.at_step = 2;  // 0.8 - 0.6 * (1 - 2/4)^3
  CHECK(prune_settings(args).request.options.sparsity == doctest::Approx(0.725));
}

TEST_CASE("--in-place writes to IN, which is refused without it") {
  const Files files;
  PruneArgs args = files.line();
  args.output = args.input;
  CHECK(refusal(args).find("--in-place") != std::string::npos);
  args.output.clear();
  args.in_place = true;
  CHECK(prune_settings(args).destination.output == args.input);
}

TEST_CASE("weights of another checkpoint are not refitted") {
  const Files files;
  PruneArgs args = files.line();
  args.rewind = files.file("initial.onnx");
  CHECK_FALSE(prune_settings(args).request.options.refit);
}

TEST_CASE("options that contradict each other or lack another one are refused by name") {
  const Files files;
  struct Case {
    std::string expected;
    std::function<void(PruneArgs&)> change;
  };
  const std::string data = files.file("data.npz"), labels = files.file("labels.npy");
  const std::vector<Case> cases = {
      {"OUT is missing", [](PruneArgs& a) { a.output.clear(); }},
      {"--block and --nm", [](PruneArgs& a) { a.block = "8x1", a.nm = "2:4"; }},
      {"--sparsity and --nm", [](PruneArgs& a) { a.sparsity = 0.5, a.nm = "2:4"; }},
      {"exclude each other", [](PruneArgs& a) { a.sparsity = 0.5, a.target_size = 100; }},
      {"--labels requires --eval", [&](PruneArgs& a) { a.data.labels = labels; }},
      {"--at-step requires --schedule", [](PruneArgs& a) { a.at_step = 1; }},
      {"steps 0 to 4", [](PruneArgs& a) { a.schedule = "cubic:steps=4", a.at_step = 9; }},
      {"--method obs requires --calib", [](PruneArgs& a) { a.method = "obs"; }},
      {"--method wanda requires --calib", [](PruneArgs& a) { a.layers = {"x:method=wanda"}; }},
      {"--scope sensitivity", [](PruneArgs& a) { a.scope = "sensitivity"; }},
      {"--sequential", [](PruneArgs& a) { a.sequential = true; }},
      {"excludes --no-refit",
       [&](PruneArgs& a) { a.calib = data, a.sequential = true, a.no_refit = true; }},
      {"--max-drop requires a metric", [](PruneArgs& a) { a.max_drop = "1%"; }},
      {"--assert-drop requires a metric", [](PruneArgs& a) { a.assert_drop = "1%"; }},
      {"excludes --no-verify",
       [&](PruneArgs& a) {
         a.eval = data, a.data.labels = labels, a.assert_drop = "1%", a.no_verify = true;
       }},
      {"--machine requires --target-latency", [&](PruneArgs& a) { a.machine = data; }},
      {"excludes --mask-in", [&](PruneArgs& a) { a.target_size = 100, a.mask_in = data; }},
      {"a target sets the sparsity", [](PruneArgs& a) { a.target_size = 100, a.nm = "2:4"; }},
      {"--nm sets the sparsity",
       [](PruneArgs& a) { a.curve = {0.5}, a.data.metric_command = "true", a.nm = "2:4"; }},
  };
  for (const Case& wrong : cases) {
    CAPTURE(wrong.expected);
    PruneArgs args = files.line();
    wrong.change(args);
    const std::string text = refusal(args);
    CAPTURE(text);
    CHECK(text.find(wrong.expected) != std::string::npos);
  }
}
