#include "lib/verify/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/tensor/small_types.h"
#include "lib/verify/model_runner.h"

namespace espalier {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<double> numbers(const Tensor& tensor) {
  if (tensor.dtype() == DType::kF64) {
    const Tensor aligned = tensor.aligned();
    const auto data = aligned.data<double>();
    return {data.begin(), data.end()};
  }
  if (is_float(tensor.dtype()) || is_small_float(tensor.dtype())) {
    const std::vector<float> values = to_f32(tensor);
    return {values.begin(), values.end()};
  }
  const std::vector<int64_t> values = to_i64(tensor);
  return {values.begin(), values.end()};
}

// `count` elements from `first` on; `first` is a multiple of 8, so that those below a byte begin one.
Tensor piece_of(const Tensor& tensor, size_t first, size_t count) {
  const Shape shape{static_cast<int64_t>(count)};
  const size_t from = first * bits_of(tensor.dtype()) / 8;
  const size_t bytes = byte_count(tensor.dtype(), shape);
  return {tensor.dtype(), shape, tensor.bytes().subspan(from, bytes), nullptr};
}

// Adds elements of both sides to the sums of an output.
template <typename Sums>
void add_numbers(Sums& sums, const std::vector<double>& x, const std::vector<double>& y,
                 Tolerance tolerance) {
  for (size_t i = 0; i < x.size(); ++i) {
    const bool both_nan = std::isnan(x[i]) && std::isnan(y[i]);
    if (both_nan || x[i] == y[i]) {  // equal infinities too, whose difference would be NaN
      if (!std::isfinite(x[i])) continue;
    } else if (!std::isfinite(x[i]) || !std::isfinite(y[i])) {
      sums.ok = false;
      sums.max_abs = std::numeric_limits<double>::infinity();
      continue;
    }
    const double difference = std::abs(x[i] - y[i]);
    if (difference > tolerance.abs + tolerance.rel * std::abs(x[i])) sums.ok = false;
    sums.max_abs = std::max(sums.max_abs, difference);
    sums.largest = std::max(sums.largest, std::abs(x[i]));
    sums.aa += x[i] * x[i];
    sums.bb += y[i] * y[i];
    sums.ab += x[i] * y[i];
    sums.dd += difference * difference;
  }
}

}  // namespace

Tolerance Tolerance::of(DType dtype) const {
  if (!by_type || (dtype != DType::kF16 && dtype != DType::kBF16)) return *this;
  // Sums of a few rounded terms end some steps apart; f16 has 10 bits after the first, bf16 7.
  constexpr double kSteps = 4;
  const double step = dtype == DType::kF16 ? 0x1p-10 : 0x1p-7;
  return {std::max(abs, kSteps * step), std::max(rel, kSteps * step), true};
}

bool Comparison::ok() const { return std::ranges::all_of(outputs, &OutputDifference::ok); }

double Comparison::max_rel() const {
  double worst = 0;
  for (const OutputDifference& output : outputs) {
    if (std::isnan(output.max_rel)) return kNaN;
    worst = std::max(worst, output.max_rel);
  }
  return worst;
}

bool equal_to_rounding(const Comparison& comparison) {
  return std::ranges::all_of(comparison.outputs, [](const OutputDifference& output) {
    return output.ok || output.max_rel <= Tolerance().rel;
  });
}

// Adds the elements of one output to its sums; other shapes or types are noted instead.
void Comparer::add_tensor(Sums& sums, const Tensor& a, const Tensor& b) const {
  if (a.shape() != b.shape() || a.dtype() != b.dtype()) {
    sums.ok = false;
    sums.note = fmt::format("{} {} against {} {}", name_of(a.dtype()), to_string(a.shape()),
                            name_of(b.dtype()), to_string(b.shape()));
    return;
  }
  const Tolerance tolerance = tolerance_.of(a.dtype());
  // Some elements at a time: as doubles they take several times the memory of the tensors.
  constexpr size_t kPiece = size_t{1} << 16;
  const Tensor whole_a = a.held(), whole_b = b.held();
  for (size_t first = 0; first < a.count(); first += kPiece) {
    const size_t count = std::min(kPiece, a.count() - first);
    add_numbers(sums, numbers(piece_of(whole_a, first, count)),
                numbers(piece_of(whole_b, first, count)), tolerance);
  }
}

void Comparer::add(const Feed& a, const Feed& b) {
  ++samples_;
  for (const auto& [name, tensor] : a) {
    auto sums = std::ranges::find(sums_, name, &Sums::name);
    if (sums == sums_.end()) {
      Sums fresh;
      fresh.name = name;
      fresh.dtype = tensor.dtype();
      sums = sums_.insert(sums_.end(), std::move(fresh));
    }
    const auto other = b.find(name);
    if (other == b.end()) {
      sums->ok = false;
      sums->note = "the other side has no such output";
    } else {
      add_tensor(*sums, tensor, other->second);
    }
  }
}

Comparison Comparer::result() const {
  Comparison result;
  result.samples = samples_;
  for (const Sums& sums : sums_) {
    OutputDifference d;
    d.name = sums.name;
    d.dtype = sums.dtype;
    d.tolerance = tolerance_.of(sums.dtype);
    d.ok = sums.ok;
    d.note = sums.note;
    d.max_abs = sums.max_abs;
    const auto ratio = [](double part, double whole) {
      return part == 0 ? 0.0
                       : (whole == 0 ? std::numeric_limits<double>::infinity() : part / whole);
    };
    d.max_rel = ratio(sums.max_abs, sums.largest);
    d.relative_error = std::sqrt(ratio(sums.dd, sums.aa));
    const bool both_zero = sums.aa == 0 && sums.bb == 0;
    d.cosine = both_zero ? 1.0 : ratio(sums.ab, std::sqrt(sums.aa) * std::sqrt(sums.bb));
    if (!sums.note.empty()) d.max_abs = d.max_rel = d.relative_error = d.cosine = kNaN;
    result.outputs.push_back(std::move(d));
  }
  return result;
}

Comparison compare_outputs(const std::vector<Feed>& a, const std::vector<Feed>& b,
                           Tolerance tolerance) {
  ESPALIER_CHECK(a.size() == b.size());
  Comparer comparer(tolerance);
  for (size_t i = 0; i < a.size(); ++i) comparer.add(a[i], b[i]);
  return comparer.result();
}

Comparison compare_models(const Model& a, const Model& b, const DataSet& data,
                          const std::vector<Feed>& feeds, Tolerance tolerance,
                          const ExecutorOptions& options_a, const ExecutorOptions& options_b) {
  ModelRunner runner_a(a, a, data, options_a), runner_b(b, a, data, options_b);
  Comparer comparer(tolerance);
  for (const Feed& feed : feeds) {
    const Feed from_a = runner_a.run(feed);
    comparer.add(from_a, runner_b.run(feed));
  }
  return comparer.result();
}

}  // namespace espalier
