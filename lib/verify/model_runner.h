#pragma once

#include "lib/verify/data.h"

namespace espalier {

/// Runs a model with the input and output names of another, `reference` (same names, else by
/// position), which are also those of the data set's states.
class ModelRunner {
 public:
  /// Errors  as Executor, FeedRunner and match_names.
  ModelRunner(const Model& model, const Model& reference, const DataSet& data,
              const ExecutorOptions& options);
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  Feed run(const Feed& feed);
  /// As FeedRunner::bind; then executor().run_bound() is one run and nothing else.
  void bind(const Feed& feed) { runner_.bind(own_names(feed)); }
  Executor& executor() { return executor_; }
  /// `feed` with this model's own input names, and the reference's defaults for inputs that must be
  /// fed here.
  Feed own_names(const Feed& feed) const;

 private:
  std::map<std::string, std::string> inputs_, outputs_;  // reference's -> own; own -> reference's
  Feed defaults_;                                        // by own names
  Executor executor_;
  FeedRunner runner_;
};

}  // namespace espalier
