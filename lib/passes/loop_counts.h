#pragma once

#include <map>
#include <optional>
#include <vector>

#include "lib/passes/graph_around.h"

namespace espalier {

/// A number that changes evenly: start + per_step * i + per_trips * trips in run i of a loop's body,
/// where `trips` is how often it runs.
struct EvenNumber {
  int64_t start = 0, per_step = 0, per_trips = 0;
  size_t rank = 0;  ///< of the tensor of one element that holds it

  bool is_constant() const { return per_step == 0 && per_trips == 0; }
};

/// How often the body of a Loop runs, and the numbers in it that count its runs.
///
/// The trip count is known where it is a constant, where the condition compares a counter with one,
/// or where both are one value of the graph around (of whatever type or rank). A condition that
/// looks at anything else has no count.
class LoopCounts {
 public:
  /// Nothing where the number of runs is not known.
  static std::optional<LoopCounts> of(const Node& loop, const Graph& body, GraphAround& outer);

  /// The runs; -1: as many as trips_value() says.
  int64_t trips() const { return trips_; }
  ValueId trips_value() const { return trips_value_; }  ///< of the graph around

  const EvenNumber* find(ValueId value) const;
  /// Whether the number is that of the run: 0, 1, ..., or trips - 1, ..., 0.
  bool is_forwards(const EvenNumber& number) const;
  bool is_backwards(const EvenNumber& number) const;
  bool is_counter(size_t state) const { return counters_.contains(state); }
  /// What a counter is after the last run, where that is known.
  std::optional<int64_t> last(size_t state) const;

 private:
  LoopCounts(const Node& loop, const Graph& body, GraphAround& outer);

  bool count();
  void find_trips_value();
  void find_counters();
  std::optional<EvenNumber> outer_number(ValueId value, size_t depth) const;
  std::optional<EvenNumber> number(ValueId value) const;
  void add_node(const Node& node);
  const Node* maker(ValueId value) const;
  bool is_true_until_end(ValueId condition, size_t depth);
  bool starts_true(ValueId condition, size_t depth) const;
  bool holds(EvenNumber difference, bool or_equal);

  const Node& loop_;
  const Graph& body_;
  GraphAround& outer_;
  int64_t trips_ = -1;
  int64_t limit_ = INT64_MAX;  // by the condition
  ValueId trips_value_ = kNoValue;
  bool ends_by_condition_ = false;  // there is no trip count but a compared value
  bool compared_ = false;
  std::map<ValueId, EvenNumber> numbers_;
  std::map<size_t, EvenNumber> counters_;  // by state
  std::vector<const Node*> makers_;
};

}  // namespace espalier
