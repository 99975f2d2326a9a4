#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/ir/model.h"
#include "lib/runtime/executor.h"

namespace espalier {

/// Arrays for a model's inputs (first axis = samples), and how they are cut into feeds: what
/// --inputs, --batch, --state and --fill say.
struct DataSet {
  std::map<std::string, Tensor> arrays;  ///< input name -> array
  std::vector<Feed> feeds;               ///< instead of arrays: ready feeds (test_data_set folders)
  std::vector<std::string> feed_names;   ///< what each of `feeds` is called; parallel to it
  /// Outputs stored beside `feeds`, parallel to it; or, beside `arrays`, one feed of outputs joined
  /// as join_outputs() does. Empty: nothing is stored.
  std::vector<Feed> expected;
  int64_t batch = 0;  ///< 0: the model's own, 1 where free
  std::map<std::string, std::string>
      states;  ///< input -> output whose last value it gets (zero at the start)
  std::map<std::string, double> fill;  ///< input -> constant
  std::string token_mask;  ///< input that is 0 where a sample is padding; "" = there is none
};

/// Names of the inputs that must be fed (those without a constant behind them) and of the outputs,
/// in the graph's order.
std::vector<std::string> input_names(const Model& model);
std::vector<std::string> output_names(const Model& model);

/// Each of `from` -> its name in `to`: the same name where all are there, else by position.
/// Errors  Fault::kFormat, naming `what`, where neither works.
std::map<std::string, std::string> match_names(const std::vector<std::string>& from,
                                               const std::vector<std::string>& to,
                                               const std::string& what);
/// `feed` under other names; a name that is not in `names` stays.
Feed renamed(const Feed& feed, const std::map<std::string, std::string>& names);

/// Equal but for what a format with narrower identifiers makes of names (mangled_name).
bool same_name_mangled(const std::string& a, const std::string& b);

/// The feeds of `model` in order. An array with one axis more than the input gives one feed per
/// sample; one of equal rank is cut along its first axis into the model's batches. States are not
/// in the feeds: they come from the run.
/// Errors  Fault::kUsage: an input in none of arrays, states and fill, a state or fill of no input;
///         Fault::kFormat: an array that fits no input; arrays of different lengths. Names it.
std::vector<Feed> make_feeds(const Model& model, const DataSet& data);

/// Whether make_feeds gives one feed per sample of an array with an axis more than its input.
bool stacks_samples(const Model& model, const DataSet& data);

/// Outputs of all feeds as one array each: stacked along a new first axis, or joined along the one
/// that they have.
/// Errors  Fault::kUnsupported: shapes that differ in another axis.
Feed join_outputs(const std::vector<Feed>& outputs, bool stacked);

/// Runs feeds one after another and carries the states over.
class FeedRunner {
 public:
  /// Errors  Fault::kUsage: a state that is no input, or comes from no output. Names it.
  FeedRunner(Executor& executor, const Model& model, std::map<std::string, std::string> states);
  Feed run(const Feed& feed);
  /// Makes the executor's run_bound() run `feed`, with the states as they are now: for timing.
  void bind(const Feed& feed);

 private:
  Feed with_states(const Feed& feed) const;

  Executor* executor_;
  const Model* model_;
  std::map<std::string, std::string> states_;
  Feed carried_, bound_;
};

/// Runs all feeds in order, carrying states over. Calls sink(index, outputs) after each.
void run_feeds(Executor& executor, const Model& model, const DataSet& data,
               const std::vector<Feed>& feeds,
               const std::function<void(size_t, const Feed&)>& sink);

/// Extents that stand in for free ones where there is no data.
struct FreeExtents {
  int64_t first = 1, others = 1;  ///< along the first axis, and along all others
};

/// One feed of seeded random values (normal for floats, ones for everything else): for when there
/// is no data. Free axes of one name get one extent. Inputs in `data.fill` get their constant,
/// states stay out.
/// Errors  Fault::kUnsupported: an input without a known rank, or past 1 GiB.
Feed random_feed(const Model& model, uint64_t seed, const DataSet& data = {},
                 FreeExtents free = {});

}  // namespace espalier
