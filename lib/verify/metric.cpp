#include "lib/verify/metric.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

namespace espalier {
namespace {

[[noreturn]] void bad_labels(const std::string& why) {
  throw Error(Fault::kFormat, "labels: " + why);
}

// The output over all feeds, one after another, and the length of its last axis.
struct Joined {
  std::vector<float> values;
  size_t last = 1;
};

Joined join(const std::vector<Feed>& outputs, const std::string& name) {
  Joined result;
  for (const Feed& feed : outputs) {
    const auto found = feed.find(name);
    ESPALIER_CHECK(found != feed.end());
    const std::vector<float> part = to_f32(found->second);
    result.values.insert(result.values.end(), part.begin(), part.end());
    const Shape& shape = found->second.shape();
    result.last = shape.empty() ? 1 : static_cast<size_t>(shape.back());
  }
  return result;
}

// Place of `label` when the classes are sorted by falling value, ties by index; NaN has none.
size_t rank_of(std::span<const float> row, size_t label) {
  if (std::isnan(row[label])) return SIZE_MAX;
  size_t rank = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i] > row[label] || (row[i] == row[label] && i < label)) ++rank;
  }
  return rank;
}

size_t sample_count(const Tensor& labels) {
  return labels.shape().empty() ? 1 : static_cast<size_t>(labels.shape()[0]);
}

// What each sample adds to the two sums that a metric is made of.
using Terms = std::vector<std::array<double, 2>>;

SampleScorer scorer_of(Terms terms, double (*finish)(double first, double second)) {
  return [terms = std::move(terms), finish](std::span<const uint32_t> times) {
    std::array<double, 2> sums{};
    for (size_t i = 0; i < terms.size(); ++i) {
      sums[0] += times[i] * terms[i][0];
      sums[1] += times[i] * terms[i][1];
    }
    return finish(sums[0], sums[1]);
  };
}

double ratio(double first, double second) { return first / second; }

// Hits and labels that count.
SampleScorer top(size_t places, const Joined& output, const Tensor& labels) {
  const std::vector<int64_t> wanted = to_i64(labels);
  const size_t classes = output.last;
  const size_t rows = classes == 0 ? 0 : output.values.size() / classes;
  if (wanted.size() != rows) {
    bad_labels(fmt::format("{} are given for {} rows of {} classes", wanted.size(), rows, classes));
  }
  Terms terms(sample_count(labels));
  bool any = false;
  for (size_t i = 0; i < rows; ++i) {
    if (wanted[i] == -1) continue;
    if (wanted[i] < 0 || wanted[i] >= static_cast<int64_t>(classes)) {
      bad_labels(
          fmt::format("label {} is {}, expected 0 to {} (-1: ignored)", i, wanted[i], classes - 1));
    }
    const auto row = std::span(output.values).subspan(i * classes, classes);
    auto& [hits, counted] = terms[i * terms.size() / rows];
    hits += rank_of(row, static_cast<size_t>(wanted[i])) < places ? 1 : 0;
    counted += 1;
    any = true;
  }
  if (!any) bad_labels("all are -1");
  return scorer_of(std::move(terms), ratio);
}

struct Scored {
  float score;
  bool positive;
  size_t sample;
};

// Mann-Whitney: share of pairs (one positive, one negative) that the score puts in order; of scores
// in rising order.
double auc_of(const std::vector<Scored>& scores, std::span<const uint32_t> times) {
  double positives = 0, rank_sum = 0, before = 0;
  for (size_t first = 0; first < scores.size();) {
    size_t last = first;
    double run = 0, run_positives = 0;
    for (; last < scores.size() && scores[last].score == scores[first].score; ++last) {
      const double count = times[scores[last].sample];
      run += count;
      if (scores[last].positive) run_positives += count;
    }
    rank_sum += run_positives * (before + before + run + 1) / 2;  // mean rank of a run of ties
    positives += run_positives;
    before += run;
    first = last;
  }
  return (rank_sum - positives * (positives + 1) / 2) / (positives * (before - positives));
}

SampleScorer auc(const Joined& output, const Tensor& labels) {
  const std::vector<int64_t> wanted = to_i64(labels);
  if (wanted.size() != output.values.size()) {
    bad_labels(fmt::format("{} are given for {} values", wanted.size(), output.values.size()));
  }
  std::vector<Scored> scores;
  bool both[2] = {false, false};
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == -1) continue;
    if (wanted[i] != 0 && wanted[i] != 1)
      bad_labels(fmt::format("label {} is {}, expected 0 or 1 (-1: ignored)", i, wanted[i]));
    if (std::isnan(output.values[i])) return [](std::span<const uint32_t>) { return std::nan(""); };
    scores.push_back({output.values[i], wanted[i] == 1, i * sample_count(labels) / wanted.size()});
    both[wanted[i]] = true;
  }
  if (!both[0] || !both[1]) bad_labels("auc requires both 1 and 0");
  std::ranges::stable_sort(scores, {}, &Scored::score);
  return [scores = std::move(scores)](std::span<const uint32_t> times) {
    return auc_of(scores, times);
  };
}

struct Sums {
  double rr = 0, oo = 0, ro = 0, dd = 0;  // reference, output, their product, their difference
};

Sums sums_of(std::span<const float> reference, std::span<const float> output) {
  Sums sums;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double r = reference[i], o = output[i];
    sums.rr += r * r;
    sums.oo += o * o;
    sums.ro += r * o;
    sums.dd += (r - o) * (r - o);
  }
  return sums;
}

std::vector<float> reference_of(const Joined& output, const Tensor& labels) {
  std::vector<float> reference = to_f32(labels);
  if (reference.size() != output.values.size()) {
    bad_labels(fmt::format("{} reference values for {} values of the output", reference.size(),
                           output.values.size()));
  }
  if (reference.empty()) bad_labels("there are no reference values");
  return reference;
}

// One element each: the sums of every sample.
std::vector<Sums> sums_by_sample(const Joined& output, const Tensor& labels) {
  const std::vector<float> reference = reference_of(output, labels);
  const size_t samples = sample_count(labels);
  const size_t length = reference.size() / samples;
  std::vector<Sums> result;
  for (size_t i = 0; i < samples; ++i) {
    result.push_back(sums_of(std::span(reference).subspan(i * length, length),
                             std::span(output.values).subspan(i * length, length)));
  }
  return result;
}

SampleScorer mean_cosine(const Joined& output, const Tensor& labels) {
  Terms terms;
  for (const Sums& s : sums_by_sample(output, labels)) {
    const bool equal = s.rr == 0 && s.oo == 0;
    terms.push_back({equal ? 1.0 : s.ro / (std::sqrt(s.rr) * std::sqrt(s.oo)), 1});
  }
  return scorer_of(std::move(terms), ratio);
}

SampleScorer snr(const Joined& output, const Tensor& labels) {
  Terms terms;
  for (const Sums& s : sums_by_sample(output, labels)) terms.push_back({s.rr, s.dd});
  return scorer_of(std::move(terms),
                   [](double signal, double noise) { return 10 * std::log10(signal / noise); });
}

SampleScorer mse(const Joined& output, const Tensor& labels) {
  Terms terms;
  const auto values = static_cast<double>(output.values.size());
  const auto samples = static_cast<double>(sample_count(labels));
  for (const Sums& s : sums_by_sample(output, labels)) terms.push_back({s.dd, values / samples});
  return scorer_of(std::move(terms), ratio);
}

enum class Unit { kShare, kDecibel, kPower };

struct Metric {
  std::string_view name;
  SampleScorer (*prepare)(const Joined& output, const Tensor& labels);
  Unit unit = Unit::kShare;
};

constexpr std::array kMetrics{
    Metric{"top1", [](const Joined& o, const Tensor& l) { return top(1, o, l); }},
    Metric{"top5", [](const Joined& o, const Tensor& l) { return top(5, o, l); }},
    Metric{"cosine", mean_cosine},
    Metric{"snr", snr, Unit::kDecibel},
    Metric{"mse", mse, Unit::kPower},
    Metric{"auc", auc},
};

constexpr double kToleratedShare = 0.01, kToleratedDecibel = 0.3;

Unit unit_of(std::string_view name) {
  const auto found = std::ranges::find(kMetrics, name, &Metric::name);
  return found == kMetrics.end() ? Unit::kShare : found->unit;
}

}  // namespace

std::vector<std::string> metric_names() {
  std::vector<std::string> names;
  for (const Metric& entry : kMetrics) names.emplace_back(entry.name);
  return names;
}

SampleScorer sample_scorer(const std::string& name, const std::vector<Feed>& outputs,
                           const std::string& output_name, const Tensor& labels) {
  const auto found = std::ranges::find(kMetrics, name, &Metric::name);
  if (found == kMetrics.end()) {
    throw Error(Fault::kUsage, fmt::format("metric '{}' is unknown, expected one of {}",
                                           printable(name), fmt::join(metric_names(), ", ")));
  }
  return found->prepare(join(outputs, output_name), labels);
}

double metric(const std::string& name, const std::vector<Feed>& outputs,
              const std::string& output_name, const Tensor& labels) {
  const std::vector<uint32_t> once(sample_count(labels), 1);
  return sample_scorer(name, outputs, output_name, labels)(once);
}

double metric_drop(const std::string& name, double before, double after) {
  if (before == after) return 0;  // both infinite: snr of equal signals
  return unit_of(name) == Unit::kPower ? after - before : before - after;
}

double tolerated_drop(const std::string& name, double before) {
  switch (unit_of(name)) {
    case Unit::kDecibel:
      return kToleratedDecibel;
    case Unit::kPower:
      return before * (std::pow(10.0, kToleratedDecibel / 10) - 1);
    case Unit::kShare:
      break;
  }
  return kToleratedShare * std::abs(before);
}

std::string tolerated_text(const std::string& name) {
  return unit_of(name) == Unit::kShare ? fmt::format("{:g} %", 100 * kToleratedShare)
                                       : fmt::format("{:g} dB", kToleratedDecibel);
}

bool accuracy_kept(const MetricPair& metric) {
  return metric_drop(metric.name, metric.a, metric.b) <= tolerated_drop(metric.name, metric.a);
}

}  // namespace espalier
