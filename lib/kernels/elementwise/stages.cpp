#include "lib/kernels/elementwise/stages.h"

#include <algorithm>
#include <array>

#include "lib/base/parallel.h"
#include "lib/kernels/elementwise/elementwise.h"

namespace espalier {
namespace {

using In = std::span<const float>;
using Out = std::span<float>;

constexpr std::array kStages{
    StageFunction{"Relu", [](In x, float, float, Out y) { relu(x, y); }},
    StageFunction{"Sigmoid", [](In x, float, float, Out y) { sigmoid(x, y); }},
    StageFunction{"Tanh", [](In x, float, float, Out y) { tanh(x, y); }},
    StageFunction{"LeakyRelu", [](In x, float a, float, Out y) { leaky_relu(x, a, y); }, 0.01F},
    StageFunction{"HardSigmoid", [](In x, float a, float b, Out y) { hard_sigmoid(x, a, b, y); },
                  0.2F, 0.5F},
    StageFunction{"HardSwish", [](In x, float, float, Out y) { hard_swish(x, y); }},
    StageFunction{"Swish", [](In x, float a, float, Out y) { swish(x, a, y); }, 1},
    StageFunction{"Gelu", [](In x, float, float, Out y) { gelu(x, y); }},
    StageFunction{"GeluTanh", [](In x, float, float, Out y) { gelu_tanh(x, y); }},
    // Not by unary_stage: their numbers are inputs.
    StageFunction{"Clip", [](In x, float a, float b, Out y) { clip(x, a, b, y); }},
    StageFunction{"Affine", [](In x, float a, float b, Out y) { affine(x, a, b, y); }, 1},
};

}  // namespace

const StageFunction* find_stage(std::string_view name) {
  const auto found = std::ranges::find(kStages, name, &StageFunction::name);
  return found == kStages.end() ? nullptr : &*found;
}

void apply_stages(std::span<const StageCall> stages, std::span<float> y, ThreadPool& pool) {
  if (stages.empty()) return;
  constexpr size_t kChunk = 4096;  // stays in the first cache from stage to stage
  constexpr size_t kCost = 4;      // as in unary.cpp
  const size_t chunks = (y.size() + kChunk - 1) / kChunk;
  parallel(pool, chunks, kChunk * kCost, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const auto piece = y.subspan(i * kChunk, std::min(kChunk, y.size() - i * kChunk));
      for (const StageCall& stage : stages) stage.run(piece, stage.alpha, stage.beta, piece);
    }
  });
}

}  // namespace espalier
