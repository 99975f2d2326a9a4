#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "apps/espalier/command.h"
#include "apps/espalier/command_files.h"
#include "apps/espalier/data_options.h"
#include "apps/espalier/read_uncovered.h"
#include "apps/espalier/run_info.h"
#include "lib/base/log.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/search/advise.h"
#include "lib/search/machine_file.h"

namespace espalier {
namespace {

struct Args {
  CommonOptions common;
  std::string model, machine;
  std::vector<std::string> blocks;
  DataOptions data;
};

AdviseSubject subject_of(const Args& args) {
  const Model model = decode_weights(read_uncovered(args.model, args.common.threads));
  AdviseSubject subject{unpruned(model), {}, {}};
  subject.evaluation = read_evaluation(model, {.path = args.data.inputs}, args.data, args.common);
  if (!subject.evaluation.not_run.empty())
    throw Error(Fault::kUnsupported, "no time can be measured: " + subject.evaluation.not_run);
  if (std::ranges::all_of(subject.models.layers,
                          [](const Layer& layer) { return !layer.left_out.empty(); }))
    throw Error(Fault::kUnsupported,
                fmt::format("{}: no weight that can be pruned", printable(args.model, 4096)));
  subject.options = {.threads = args.common.threads, .always_packed = true};
  return subject;
}

std::vector<BlockShape> blocks_of(const Args& args) {
  std::vector<std::string> names = args.blocks;
  if (names.empty()) names = {"16x1", "16x4", "8x1", "8x4", "4x8", "1x4", "1x1"};
  std::vector<BlockShape> blocks;
  for (const std::string& name : names) blocks.push_back(parse_block_shape(name));
  return blocks;
}

// Measures or predicts the model in each block at two shares of zeros and reports the fitted lines.
int run(const Args& args) {
  apply_common(args.common);
  CommandFiles files;
  files.reads_model("MODEL", args.model);
  files.reads(args.data);
  files.reads("--machine", args.machine);
  files.writes(args.common);
  const std::vector<BlockShape> blocks = blocks_of(args);
  check_data_options(args.data);
  std::optional<KernelResults> machine;
  if (!args.machine.empty()) machine = read_machine(args.machine);
  const AdviseSubject subject = subject_of(args);
  const SampleCounter samples = count_samples(subject.models, subject.evaluation, subject.options);
  ThreadPool pool(args.common.threads);
  std::vector<BlockTimes> all;
  if (machine) {
    for (const BlockShape block : blocks) {
      try {
        all.push_back(predict_block(subject, *machine, block, samples));
      } catch (Error& error) {
        error.add_context(printable(args.machine, 4096));
        throw;
      }
    }
  } else {
    Progress progress("advise", blocks.size());
    for (const BlockShape block : blocks) {
      all.push_back(measure_block(subject, block, args.common.seed, pool));
      progress.step();
    }
  }
  Results results;
  results.command = "advise";
  results.run = run_info(files, args.common);
  results.advise = advise_results(subject, all, samples);
  results.advise->machine = machine ? machine->machine : this_machine(args.common.threads);
  results.advise->measured_here = !machine;
  results.advise->random_inputs = subject.evaluation.random;
  for (const auto& [name, tensor] : subject.evaluation.feeds.front())
    results.advise->inputs.emplace(name, tensor.shape());
  emit(results, args.common);
  return kDone;
}

std::function<int()> add(CLI::App& app) {
  auto args = std::make_shared<Args>();
  app.add_option("MODEL", args->model, "model whose pruning is considered")->required();
  app.add_option("--block", args->blocks, "block shapes to compare (16x1,16x4,8x1,8x4,4x8,1x4,1x1)")
      ->type_name("LIST")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--machine", args->machine,
                 "predict for the machine on which `bench --kernels --json F` ran instead of "
                 "measuring on this one")
      ->type_name("F");
  add_data_options(app, args->data,
                   "inputs to measure with (the first sample; random inputs if not given)");
  add_common(app, args->common);
  add_footer(
      app,
      "  espalier advise model.onnx --block 16x1,8x4 --inputs test_data_set_0 --threads 1\n"
      "  espalier bench --kernels --block 16x1,8x4 --n 1,16,64 --json target.json   # there\n"
      "  espalier advise model.onnx --block 16x1,8x4 --machine target.json          # here");
  return [args] { return run(*args); };
}

}  // namespace

constinit const Command advise_command{
    "advise",
    "estimate whether pruning makes a model faster, with which block and from which sparsity", add};

}  // namespace espalier
