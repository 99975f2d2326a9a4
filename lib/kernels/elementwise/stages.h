#pragma once

#include <span>
#include <string_view>

#include "lib/base/thread_pool.h"

namespace espalier {

/// A function of each element with up to two numbers, on the calling thread; x may be y.
using StageRun = void (*)(std::span<const float> x, float alpha, float beta, std::span<float> y);

/// What a product can do with its results, by ONNX's names: "Relu", "Clip" (alpha: low, beta:
/// high), "Affine" (alpha x + beta), ... alpha and beta are the defaults of ONNX's attributes.
struct StageFunction {
  std::string_view name;
  StageRun run;
  float alpha = 0, beta = 0;
};
/// Null where there is none of that name.
const StageFunction* find_stage(std::string_view name);

struct StageCall {
  StageRun run;
  float alpha, beta;
};
/// One stage after the other, in place; results do not depend on threads. Allocates nothing.
void apply_stages(std::span<const StageCall> stages, std::span<float> y, ThreadPool& pool);

}  // namespace espalier
