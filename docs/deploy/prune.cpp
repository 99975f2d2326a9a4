// prune MODEL OUTPUT: drops half of the 16x1 blocks of each weight, writes the packed model, runs it; C++20, library espalier.
#include <cstdio>
#include <exception>

#include "formats/format.h"
#include "lib/prune/choose/make_plan.h"
#include "lib/prune/pack/pack_weights.h"
#include "lib/runtime/executor.h"

using namespace espalier;

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: prune MODEL OUTPUT\n");
    return 2;
  }
  ThreadPool pool(0);
  const Model dense = read_model(argv[1]);
  PruneOptions options;
  options.sparsity = 0.5;
  options.block = {16, 1};
  const PrunePlan plan = make_plan(dense, options, pool);
  write_model(pack_weights(dense, plan, pool), argv[2]);

  const Model packed = runnable(read_model(argv[2]));
  Executor executor(packed, {.threads = 1});
  for (const ValueId id : packed.graph.inputs) {
    const Value& input = packed.graph.values[id];
    if (packed.graph.weights.contains(id)) continue;
    Shape shape = input.shape.value();
    for (int64_t& extent : shape) extent = extent < 0 ? 1 : extent;
    const TensorView view = executor.input_view(input.name, Dims(shape));
    for (size_t i = 0; view.dtype == DType::kF32 && i < view.count(); ++i)
      view.data<float>()[i] = 0.5F;
  }
  executor.run_bound();
  for (const ValueId id : packed.graph.outputs) {
    const std::string& name = packed.graph.values[id].name;
    const TensorView y = executor.output_view(name);
    std::printf("%s: %zu values", name.c_str(), y.count());
    if (y.dtype == DType::kF32 && y.count() != 0)
      std::printf(", the first %g", double{*y.data<float>()});
    std::printf("\n");
  }
} catch (const Error& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
