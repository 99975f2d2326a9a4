#include "apps/espalier/calibration_cache.h"

#include <fmt/format.h>

#include <charconv>

#include "formats/npy/npy.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/calibrate/statistics_file.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::optional<std::vector<float>> read_scores(const fs::path& file) {
  const Tensor tensor = read_npy_file(file);
  if (tensor.dtype() != DType::kF32 || tensor.shape().size() != 1) {
    KeyedFiles::warn_of(file, "is no row of f32");
    return std::nullopt;
  }
  return to_f32(tensor);
}

// A count, and a line for each weight that was refused.
std::vector<std::string> lines_of(const CalibrationGaps& gaps) {
  std::vector<std::string> lines{std::to_string(gaps.not_finite)};
  for (const std::string& text : gaps.refused) lines.push_back(printable(text, 4096));
  return lines;
}

CalibrationGaps read_gaps(const std::vector<std::string>& lines) {
  CalibrationGaps gaps;
  const std::string count = lines.empty() ? "" : lines[0];
  const auto [end, fault] =
      std::from_chars(count.data(), count.data() + count.size(), gaps.not_finite);
  if (fault != std::errc() || end != count.data() + count.size())
    throw Error(Fault::kFormat, "its key holds no number of samples");
  gaps.refused.assign(lines.begin() + 1, lines.end());
  return gaps;
}

}  // namespace

Statistics CalibrationCache::statistics(
    const std::string& part, const std::function<Statistics(CalibrationGaps& gaps)>& collect,
    CalibrationGaps& gaps) const {
  const std::string what = made_of_ + "\nstatistics " + part;
  if (const auto found = files_.find(what, ".statistics")) {
    try {
      Statistics statistics = read_statistics(found->file);
      gaps.add(read_gaps(found->lines));
      note(fmt::format("statistics of {} inputs: {}", part, found->file.string()));
      return statistics;
    } catch (const Error& error) {
      KeyedFiles::warn_of(found->file, error.what());
    }
  }
  CalibrationGaps own;
  Statistics statistics = collect(own);
  files_.keep(what, ".statistics", lines_of(own),
              [&](const fs::path& target) { write_statistics(target, statistics); });
  gaps.add(own);
  return statistics;
}

ScoreStore CalibrationCache::scores() const {
  ScoreStore store;
  store.find = [this](const std::string& what) -> std::optional<std::vector<float>> {
    const auto found = files_.find(made_of_ + "\nscores " + what, ".scores.npy");
    if (!found) return std::nullopt;
    try {
      note(fmt::format("scores: {}", found->file.string()));
      return read_scores(found->file);
    } catch (const Error& error) {
      KeyedFiles::warn_of(found->file, error.what());
      return std::nullopt;
    }
  };
  store.keep = [this](const std::string& what, std::span<const float> scores) {
    const Tensor row = from_f32({scores.begin(), scores.end()}, DType::kF32,
                                {static_cast<int64_t>(scores.size())});
    files_.keep(made_of_ + "\nscores " + what, ".scores.npy", {},
                [&](const fs::path& target) { write_npy_file(target, row); });
  };
  return store;
}

}  // namespace espalier
