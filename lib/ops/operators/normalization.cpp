// BatchNormalization, InstanceNormalization, LayerNormalization, GroupNormalization,
// RMSNormalization, LpNormalization, LRN.

#include <algorithm>
#include <cmath>

#include "lib/kernels/elementwise/elementwise.h"
#include "lib/ops/op_util.h"

namespace espalier {
namespace {

float epsilon_of(const PrepareContext& context) {
  return float_attribute(context.node, "epsilon", 1e-5F);
}

void check_channels(const RunContext& run, size_t input, size_t channels) {
  if (run.input(input).count() != channels) {
    fail("input {} has {} values for {} channels", input, run.input(input).count(), channels);
  }
}

// y = x * scale + shift over `count` elements.
void scale_and_shift(const float* x, float* y, size_t count, float scale, float shift) {
  for (size_t i = 0; i < count; ++i) y[i] = x[i] * scale + shift;
}

// y = (x - mean) / sqrt(variance + epsilon) * scale + bias with given mean and variance, as one
// factor and one shift per channel. Training is refused.
Run prepare_batch(const PrepareContext& context) {
  if (int_attribute(context.node, "training_mode", 0) != 0) {
    unsupported("training_mode is not supported");
  }
  for (size_t i = 1; i < context.node.outputs.size(); ++i) {
    if (context.node.outputs[i] != kNoValue) unsupported("outputs of training are not supported");
  }
  if (int_attribute(context.node, "spatial", 1) == 0) unsupported("spatial = 0 is not supported");
  return [epsilon = epsilon_of(context)](RunContext& run) {
    const Dims& x = run.input(0).dims;
    if (x.rank() < 1) fail("the input has no axes");
    const size_t channels = x.rank() == 1 ? 1 : static_cast<size_t>(x[1]);
    const size_t images = static_cast<size_t>(x[0]),
                 places = x.product(std::min<size_t>(2, x.rank()), x.rank());
    for (size_t input = 1; input < 5; ++input) check_channels(run, input, channels);
    const float *scale = f32_of(run, 1), *bias = f32_of(run, 2);
    const float *mean = f32_of(run, 3), *variance = f32_of(run, 4);
    const float* from = f32_of(run, 0);
    float* to = f32_output(run, 0, x);
    parallel(run.pool(), images * channels, places, [&](size_t begin, size_t end) {
      for (size_t plane = begin; plane < end; ++plane) {
        const size_t c = plane % channels;
        const float factor = scale[c] / std::sqrt(variance[c] + epsilon);
        scale_and_shift(from + plane * places, to + plane * places, places, factor,
                        bias[c] - mean[c] * factor);
      }
    });
  };
}

struct Moments {
  float mean, inverse;  // 1 / sqrt(variance + epsilon)
};

Moments moments(const float* x, size_t count, float epsilon) {
  std::array<double, 4> sums{}, squares{};
  size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (size_t k = 0; k < 4; ++k) sums[k] += x[i + k];
  }
  for (; i < count; ++i) sums[0] += x[i];
  const double mean = (sums[0] + sums[1] + sums[2] + sums[3]) / static_cast<double>(count);
  const auto square = [mean](float value) { return (value - mean) * (value - mean); };
  for (i = 0; i + 4 <= count; i += 4) {
    for (size_t k = 0; k < 4; ++k) squares[k] += square(x[i + k]);
  }
  for (; i < count; ++i) squares[0] += square(x[i]);
  const double variance =
      (squares[0] + squares[1] + squares[2] + squares[3]) / static_cast<double>(count);
  return {static_cast<float>(mean), static_cast<float>(1 / std::sqrt(variance + epsilon))};
}

// In f32, in two passes: as right as f32 is where the mean is not far larger than what lies around
// it, which is looked at.
Moments fast_moments(std::span<const float> x, float epsilon) {
  const auto count = static_cast<float>(x.size());
  const float mean = sum_of(x) / count, variance = squares_around(x, mean) / count;
  if (!(mean * mean < 256 * variance)) return moments(x.data(), x.size(), epsilon);
  return {mean, static_cast<float>(1 / std::sqrt(static_cast<double>(variance) + epsilon))};
}

Run prepare_instance(const PrepareContext& context) {
  return [epsilon = epsilon_of(context)](RunContext& run) {
    const Dims& x = run.input(0).dims;
    if (x.rank() < 3) fail("shape is {}, expected [N, C, ...]", to_string(x));
    const size_t channels = static_cast<size_t>(x[1]), places = x.product(2, x.rank());
    check_channels(run, 1, channels);
    check_channels(run, 2, channels);
    const float *from = f32_of(run, 0), *scale = f32_of(run, 1), *bias = f32_of(run, 2);
    float* to = f32_output(run, 0, x);
    if (places == 0) return;
    parallel(run.pool(), static_cast<size_t>(x[0]) * channels, 4 * places,
             [&](size_t begin, size_t end) {
               for (size_t plane = begin; plane < end; ++plane) {
                 const Moments m = moments(from + plane * places, places, epsilon);
                 const float factor = scale[plane % channels] * m.inverse;
                 scale_and_shift(from + plane * places, to + plane * places, places, factor,
                                 bias[plane % channels] - m.mean * factor);
               }
             });
  };
}

// Up to opset 20 scale and bias have a value per group, then per channel.
Run prepare_group(const PrepareContext& context) {
  const int64_t groups = int_attribute(context.node, "num_groups", 0);
  if (groups < 1) fail("num_groups is {}", groups);
  return [groups = static_cast<size_t>(groups), per_group = context.opset < 21,
          epsilon = epsilon_of(context)](RunContext& run) {
    const Dims& x = run.input(0).dims;
    if (x.rank() < 3 || static_cast<size_t>(x[1]) % groups != 0) {
      fail("shape {} with {} groups", to_string(x), groups);
    }
    const size_t channels = static_cast<size_t>(x[1]), places = x.product(2, x.rank());
    check_channels(run, 1, per_group ? groups : channels);
    check_channels(run, 2, per_group ? groups : channels);
    const size_t per = channels / groups;
    const float *from = f32_of(run, 0), *scale = f32_of(run, 1), *bias = f32_of(run, 2);
    float* to = f32_output(run, 0, x);
    if (places * per == 0) return;
    parallel(run.pool(), static_cast<size_t>(x[0]) * groups, 4 * per * places,
             [&](size_t begin, size_t end) {
               for (size_t piece = begin; piece < end; ++piece) {
                 const size_t base = piece * per * places, group = piece % groups;
                 const Moments m = moments(from + base, per * places, epsilon);
                 for (size_t c = 0; c < per; ++c) {
                   const size_t at = per_group ? group : group * per + c;
                   const float factor = scale[at] * m.inverse;
                   scale_and_shift(from + base + c * places, to + base + c * places, places, factor,
                                   bias[at] - m.mean * factor);
                 }
               }
             });
  };
}

// Scale or bias under the normalised axes, as one value per element; broadcast where it has fewer.
const float* per_element(RunContext& run, size_t input, const Dims& normalised) {
  const float* given = f32_of(run, input);
  const Dims& dims = run.input(input).dims;
  const size_t count = normalised.count();
  if (run.input(input).count() == count) return given;
  if (!(broadcast(dims, normalised) == normalised)) {
    fail("input {} is {}, expected {}", input, to_string(dims), to_string(normalised));
  }
  float* full = run.scratch_f32(count);
  copy_strided(sizeof(float), normalised, reinterpret_cast<const std::byte*>(given),
               broadcast_strides(dims, normalised), reinterpret_cast<std::byte*>(full),
               row_major(normalised));
  return full;
}

Dims tail_of(const Dims& dims, size_t axis) {
  Dims result;
  for (size_t i = axis; i < dims.rank(); ++i) result.push_back(dims[i]);
  return result;
}

// Each row of the axes from `axis` on is brought to mean 0 and variance 1, then scaled and shifted;
// means and inverse deviations are outputs of their own where they are read.
Run prepare_layer(const PrepareContext& context) {
  return [axis_attribute = int_attribute(context.node, "axis", -1),
          epsilon = epsilon_of(context)](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const size_t axis = axis_of(axis_attribute, x.rank());
    const size_t rows = x.product(0, axis), count = x.product(axis, x.rank());
    const Dims normalised = tail_of(x, axis);
    const float *from = f32_of(run, 0), *scale = per_element(run, 1, normalised);
    const float* bias = run.has_input(2) ? per_element(run, 2, normalised) : nullptr;
    float* to = f32_output(run, 0, x);
    Dims statistics = x;
    for (size_t i = axis; i < x.rank(); ++i) statistics[i] = 1;
    float* means = run.wants_output(1) ? f32_output(run, 1, statistics) : nullptr;
    float* inverses = run.wants_output(2) ? f32_output(run, 2, statistics) : nullptr;
    if (count == 0) return;
    parallel(run.pool(), rows, 4 * count, [&](size_t begin, size_t end) {
      for (size_t r = begin; r < end; ++r) {
        const float* row = from + r * count;
        const Moments m = fast_moments({row, count}, epsilon);
        const std::span<float> out(to + r * count, count);
        if (bias != nullptr) {
          normalize({row, count}, m.mean, m.inverse, {scale, count}, {bias, count}, out);
        } else {
          for (size_t i = 0; i < count; ++i) out[i] = (row[i] - m.mean) * m.inverse * scale[i];
        }
        if (means != nullptr) means[r] = m.mean;
        if (inverses != nullptr) inverses[r] = m.inverse;
      }
    });
  };
}

// Over the last axis, with scale and bias of one value per place. As in the nodes that it stands
// for, a single place is broadcast by longer ones.
Run prepare_fused_layer(const PrepareContext& context) {
  return [plain = prepare_layer(context), epsilon = epsilon_of(context)](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const size_t places = run.input(1).count();
    if (x.rank() == 0 || x[x.rank() - 1] != 1 || places == 1) return plain(run);
    const float *from = f32_of(run, 0), *scale = f32_of(run, 1);
    const float* bias = run.has_input(2) ? f32_of(run, 2) : nullptr;
    if (bias != nullptr && run.input(2).count() != places) fail("{} biases", run.input(2).count());
    const size_t rows = run.input(0).count();
    Dims dims = x;
    dims[dims.rank() - 1] = static_cast<int64_t>(places);
    float* to = f32_output(run, 0, dims);
    for (size_t r = 0; r < rows; ++r) {
      const Moments m = moments(from + r, 1, epsilon);
      const float value = (from[r] - m.mean) * m.inverse;
      for (size_t i = 0; i < places; ++i)
        to[r * places + i] = value * scale[i] + (bias == nullptr ? 0 : bias[i]);
    }
  };
}

Run prepare_rms(const PrepareContext& context) {
  return [axis_attribute = int_attribute(context.node, "axis", -1),
          epsilon = epsilon_of(context)](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const size_t axis = axis_of(axis_attribute, x.rank());
    const size_t rows = x.product(0, axis), count = x.product(axis, x.rank());
    const float *from = f32_of(run, 0), *scale = per_element(run, 1, tail_of(x, axis));
    float* to = f32_output(run, 0, x);
    for (size_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (size_t i = 0; i < count; ++i)
        sum += static_cast<double>(from[r * count + i]) * from[r * count + i];
      const auto factor =
          static_cast<float>(1 / std::sqrt(sum / static_cast<double>(count) + epsilon));
      for (size_t i = 0; i < count; ++i)
        to[r * count + i] = from[r * count + i] * factor * scale[i];
    }
  };
}

Run prepare_lp(const PrepareContext& context) {
  const int64_t p = int_attribute(context.node, "p", 2);
  if (p != 1 && p != 2) fail("p is {}, expected 1 or 2", p);
  return [axis_attribute = int_attribute(context.node, "axis", -1), p](RunContext& run) {
    const Dims& x = run.input(0).dims;
    const size_t axis = axis_of(axis_attribute, x.rank());
    const size_t extent = static_cast<size_t>(x[axis]), inner = x.product(axis + 1, x.rank());
    const float* from = f32_of(run, 0);
    float* to = f32_output(run, 0, x);
    for (size_t line = 0; line < x.product(0, axis) * inner; ++line) {
      const size_t base = line / inner * extent * inner + line % inner;
      double norm = 0;
      for (size_t i = 0; i < extent; ++i) {
        const double value = from[base + i * inner];
        norm += p == 1 ? std::fabs(value) : value * value;
      }
      if (p == 2) norm = std::sqrt(norm);
      const auto factor = norm == 0 ? 0.0F : static_cast<float>(1 / norm);
      for (size_t i = 0; i < extent; ++i) to[base + i * inner] = from[base + i * inner] * factor;
    }
  };
}

// Across channels: x / (bias + alpha / size * sum of squares of `size` channels around) ^ beta.
Run prepare_lrn(const PrepareContext& context) {
  const float alpha = float_attribute(context.node, "alpha", 1e-4F);
  const float beta = float_attribute(context.node, "beta", 0.75F);
  const float bias = float_attribute(context.node, "bias", 1);
  const int64_t size = int_attribute(context.node, "size", 0);
  if (size < 1) fail("size is {}", size);
  return [alpha, beta, bias, size](RunContext& run) {
    const Dims& x = run.input(0).dims;
    if (x.rank() < 3) fail("shape is {}, expected [N, C, ...]", to_string(x));
    const auto channels = x[1];
    const size_t places = x.product(2, x.rank());
    const float* from = f32_of(run, 0);
    float* to = f32_output(run, 0, x);
    for (int64_t plane = 0; plane < x[0] * channels; ++plane) {
      const int64_t c = plane % channels, image = plane - c;
      const int64_t first = std::max<int64_t>(c - (size - 1) / 2, 0);
      const int64_t last = std::min<int64_t>(c + size / 2, channels - 1);
      for (size_t i = 0; i < places; ++i) {
        double sum = 0;
        for (int64_t k = first; k <= last; ++k) {
          const double value = from[static_cast<size_t>(image + k) * places + i];
          sum += value * value;
        }
        const size_t at = static_cast<size_t>(plane) * places + i;
        to[at] = static_cast<float>(from[at] /
                                    std::pow(bias + alpha / static_cast<double>(size) * sum, beta));
      }
    }
  };
}

}  // namespace

#define ESPALIER_NORMALIZATION(id, onnx_name, function) \
  constinit const Operator id##_operator{               \
      .name = onnx_name, .prepare = function, .half_as_f32 = true};
ESPALIER_NORMALIZATION(batch_normalization, "BatchNormalization", prepare_batch)
ESPALIER_NORMALIZATION(group_normalization, "GroupNormalization", prepare_group)
ESPALIER_NORMALIZATION(instance_normalization, "InstanceNormalization", prepare_instance)
ESPALIER_NORMALIZATION(layer_normalization, "LayerNormalization", prepare_layer)
ESPALIER_NORMALIZATION(lp_normalization, "LpNormalization", prepare_lp)
ESPALIER_NORMALIZATION(lrn, "LRN", prepare_lrn)
ESPALIER_NORMALIZATION(rms_normalization, "RMSNormalization", prepare_rms)
#undef ESPALIER_NORMALIZATION

constinit const Operator fused_layer_normalization_operator{
    .name = "LayerNormalization", .prepare = prepare_fused_layer, .domain = kFusedDomain};

}  // namespace espalier
