#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/report/results.h"

namespace espalier {

/// What is known of a point that was made. `key` is the digest of all that it was made of: model,
/// data, recipe, seed, and how it was timed.
struct SweepRecord {
  std::string name, key;
  std::string recipe;              ///< of prune, as JSON
  std::string sweep;               ///< digest of what all points of the grid have in common
  size_t index = 0, of = 0;        ///< place in the grid, size of the grid
  std::optional<double> dense_ms;  ///< of the run that made it
  SweepPoint point;
};

/// The same for a reference: the dense model, or its weights in i8.
struct SweepReference {
  std::string key, sweep, model, metric;
  SweepResults::Reference reference;
};

/// The records of a sweep in DIR/points, a file for each point. Each is written whole after its
/// model file is in place, so that what a killed run left is either done or not there.
class SweepStore {
 public:
  explicit SweepStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Makes the folders.
  void create() const;
  const std::filesystem::path& folder() const { return folder_; }

  /// Nothing where there is none, or it was made of something else, or its model file is not what
  /// it was.
  std::optional<SweepRecord> find(const std::string& name, const std::string& key) const;
  std::optional<SweepReference> find_reference(const std::string& name,
                                               const std::string& key) const;
  void write(const SweepRecord& record) const;
  void write(const std::string& name, const SweepReference& reference) const;

  /// All points that are there, in the order of the grid.
  /// Errors  Fault::kFormat naming the file: it is no record of a sweep.
  std::vector<SweepRecord> all() const;
  std::optional<SweepReference> reference(const std::string& name) const;

 private:
  std::filesystem::path file(const std::string& name) const;
  bool intact(const std::string& file, const std::string& digest) const;
  std::filesystem::path folder_;
};

}  // namespace espalier
