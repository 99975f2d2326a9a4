#pragma once

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
  std::vector<Feed> expected;            ///< outputs stored beside `feeds`, or empty
  int64_t batch = 0;                     ///< 0: the model's own, 1 where free
  std::map<std::string, std::string>
      states;  ///< input -> output whose last value it gets (zero at the start)
  std::map<std::string, double> fill;  ///< input -> constant
};

/// The feeds of `model` in order. An array with one axis more than the input gives one feed per
/// sample; one of equal rank is cut along its first axis into the model's batches. States are not
/// in the feeds: they come from the run. Errors  Fault::kUsage: an input in none of arrays, states
/// and fill; an array that fits no input; arrays of different lengths. Names it.
std::vector<Feed> make_feeds(const Model& model, const DataSet& data);

/// Runs all feeds in order, carrying states over. Calls sink(index, outputs) after each.
void run_feeds(Executor& executor, const Model& model, const DataSet& data,
               const std::vector<Feed>& feeds,
               const std::function<void(size_t, const Feed&)>& sink);

/// One feed of seeded random values (normal for floats, zeros for integers, zero states), free
/// extents 1: for when there is no data.
Feed random_feed(const Model& model, uint64_t seed);

}  // namespace espalier
