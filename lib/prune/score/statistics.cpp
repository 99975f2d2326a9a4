#include "lib/prune/score/statistics.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/fnv1a.h"
#include "lib/tensor/made_once.h"

namespace espalier {
namespace {

// a * share + b * (1 - share), element by element.
Tensor blended(const Tensor& a, const Tensor& b, double share) {
  Tensor result = Tensor::zeros(DType::kF64, a.shape());
  const auto to = result.mutable_data<double>();
  const Tensor held_a = made_once(a), held_b = made_once(b);
  const auto from_a = held_a.data<double>(), from_b = held_b.data<double>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = from_a[i] * share + from_b[i] * (1 - share);
  return result;
}

InputMoments merged(const InputMoments& a, const InputMoments& b) {
  if (a.samples == 0) return b;
  if (b.samples == 0) return a;
  InputMoments result = a;
  result.samples = a.samples + b.samples;
  const double share = static_cast<double>(a.samples) / static_cast<double>(result.samples);
  result.second = half_kept(blended(a.second, b.second, share));
  result.mean = blended(a.mean, b.mean, share);
  return result;
}

bool fit(const InputMoments& a, const InputMoments& b) {
  return a.parts == b.parts && a.mean.shape() == b.mean.shape();
}

void add_layer(const LayerStatistics& from, LayerStatistics& to) {
  if (from.fingerprint != to.fingerprint) {
    throw Error(Fault::kFormat, fmt::format("statistics of weight {} are of different models",
                                            printable(from.weight)));
  }
  for (const InputMoments& input : from.inputs) {
    const auto same = std::ranges::find(to.inputs, input.first_part, &InputMoments::first_part);
    if (same == to.inputs.end()) {
      to.inputs.push_back(input);
    } else if (!fit(*same, input)) {
      throw Error(Fault::kFormat,
                  fmt::format("statistics of weight {} have different shapes: {} and {} inputs",
                              printable(from.weight), same->mean.count(), input.mean.count()));
    } else {
      *same = merged(*same, input);
    }
  }
  std::ranges::sort(to.inputs, {}, &InputMoments::first_part);
}

}  // namespace

const InputMoments* LayerStatistics::of_part(size_t part) const {
  const auto found = std::ranges::find_if(inputs, [part](const InputMoments& input) {
    return part >= input.first_part && part - input.first_part < input.parts;
  });
  return found == inputs.end() ? nullptr : &*found;
}

const LayerStatistics* Statistics::find(std::string_view weight) const {
  const auto found = std::ranges::find(layers, weight, &LayerStatistics::weight);
  return found == layers.end() ? nullptr : &*found;
}

uint64_t fingerprint_of(const Weight& weight) {
  if (!weight.is_sparse()) return fnv1a(weight.dense().bytes());
  return fnv1a(weight.sparse().diagonal.bytes(), fnv1a(weight.sparse().values.bytes()));
}

Tensor half_kept(Tensor symmetric) {
  constexpr size_t kWorthHalving = size_t{1} << 20;
  if (symmetric.byte_size() < kWorthHalving) return symmetric;
  const auto side = static_cast<size_t>(symmetric.shape().front());
  Tensor half = Tensor::zeros(DType::kF64, {static_cast<int64_t>(side * (side + 1) / 2)});
  double* to = half.mutable_data<double>().data();
  const double* from = symmetric.data<double>().data();
  for (size_t i = 0; i < side; ++i) to = std::copy_n(from + i * side, i + 1, to);
  return Tensor::deferred(DType::kF64, symmetric.shape(), [half, side] {
    const auto size = static_cast<int64_t>(side);
    Tensor whole = Tensor::zeros(DType::kF64, {size, size});
    const auto to = whole.mutable_data<double>();
    const double* row = half.data<double>().data();
    for (size_t i = 0; i < side; row += ++i) {
      for (size_t j = 0; j <= i; ++j) to[i * side + j] = to[j * side + i] = row[j];
    }
    return whole;
  });
}

Statistics merged(const Statistics& a, const Statistics& b) {
  Statistics result = a;
  for (const LayerStatistics& layer : b.layers) {
    const auto same = std::ranges::find(result.layers, layer.weight, &LayerStatistics::weight);
    if (same == result.layers.end()) {
      result.layers.push_back(layer);
    } else {
      add_layer(layer, *same);
    }
  }
  return result;
}

}  // namespace espalier
