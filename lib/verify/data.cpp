#include "lib/verify/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>
#include <set>

#include "lib/base/checked_math.h"
#include "lib/base/limits.h"
#include "lib/base/log.h"
#include "lib/ir/free_dimensions.h"
#include "lib/verify/input_names.h"

namespace espalier {
namespace {

std::string quoted(const std::string& name) { return fmt::format("'{}'", printable(name)); }

// The model's inputs that nothing stands behind.
std::vector<ValueId> required_inputs(const Graph& graph) {
  std::vector<ValueId> result;
  for (const ValueId id : graph.inputs) {
    if (!graph.weights.contains(id)) result.push_back(id);
  }
  return result;
}

const Value& input_value(const Model& model, const std::string& name) {
  for (const ValueId id : model.graph.inputs) {
    if (model.graph.values[id].name == name) return model.graph.values[id];
  }
  throw Error(Fault::kUsage,
              fmt::format("the model has no input {}; it has {}", quoted(name),
                          printable(fmt::format("{}", fmt::join(all_input_names(model), ", ")))));
}

// Free extents take the extent that another tensor of the feed has along the axis of that name,
// else the one given.
Shape concrete_shape(const Model& model, const Value& value, const Feed& feed,
                     FreeExtents free = {}) {
  if (!value.shape) {
    throw Error(Fault::kUnsupported,
                fmt::format("input {}: its rank is not known", quoted(value.name)));
  }
  Shape shape = *value.shape;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] >= 0) continue;
    shape[axis] = axis == 0 ? free.first : free.others;
    if (axis >= value.dimension_names.size() || !is_dimension_name(value.dimension_names[axis]))
      continue;
    for (const auto& [name, tensor] : feed) {
      const auto& names = input_value(model, name).dimension_names;
      const auto found = std::ranges::find(names, value.dimension_names[axis]);
      const auto place = static_cast<size_t>(found - names.begin());
      if (found != names.end() && place < tensor.shape().size())
        shape[axis] = tensor.shape()[place];
    }
  }
  constexpr size_t kLimit = limits::random_input_bytes;
  if (byte_count(value.dtype, shape) > kLimit) {
    throw Error(Fault::kUnsupported, fmt::format("input {}: its shape {} takes more than 1 GiB",
                                                 quoted(value.name), to_string(shape)));
  }
  return shape;
}

// A tensor of the input's type with the constant in every element.
Tensor filled(const Value& value, const Shape& shape, double constant) {
  const size_t count = element_count(shape);
  if (is_float(value.dtype)) {
    return from_f32(std::vector<float>(count, static_cast<float>(constant)), value.dtype, shape);
  }
  Tensor result = Tensor::zeros(value.dtype, shape);
  const auto put = [&]<typename T>(T) {
    if (constant != std::floor(constant) ||
        constant < static_cast<double>(std::numeric_limits<T>::min()) ||
        constant > static_cast<double>(std::numeric_limits<T>::max())) {
      throw Error(Fault::kUsage, fmt::format("fill {}: {} is not a value of its type {}",
                                             quoted(value.name), constant, name_of(value.dtype)));
    }
    std::ranges::fill(result.mutable_data<T>(), static_cast<T>(constant));
  };
  switch (value.dtype) {
    case DType::kI8:
      put(int8_t{});
      break;
    case DType::kI16:
      put(int16_t{});
      break;
    case DType::kI32:
      put(int32_t{});
      break;
    case DType::kI64:
      put(int64_t{});
      break;
    case DType::kBool:
    case DType::kU8:
      put(uint8_t{});
      break;
    case DType::kU16:
      put(uint16_t{});
      break;
    case DType::kU32:
      put(uint32_t{});
      break;
    case DType::kU64:
      put(uint64_t{});
      break;
    default:
      throw Error(Fault::kUnsupported, fmt::format("fill {}: an input of type {} cannot be filled",
                                                   quoted(value.name), name_of(value.dtype)));
  }
  return result;
}

// Rows [first, last) of the first axis, sharing the bytes; `drop_axis` for a single row without
// that axis.
Tensor rows_of(const std::shared_ptr<const Tensor>& array, int64_t first, int64_t last,
               bool drop_axis) {
  Shape shape = array->shape();
  const auto rows = static_cast<size_t>(shape[0]);
  const size_t row_bytes = rows == 0 ? 0 : array->bytes().size() / rows;
  if (drop_axis) {
    shape.erase(shape.begin());
  } else {
    shape[0] = last - first;
  }
  const Bytes bytes = array->bytes().subspan(static_cast<size_t>(first) * row_bytes,
                                             static_cast<size_t>(last - first) * row_bytes);
  return Tensor(array->dtype(), std::move(shape), bytes, array);
}

// How one array becomes the tensors of its input.
struct Cut {
  std::string input;
  std::shared_ptr<const Tensor> array;
  bool stacked = false;   // one axis more than the input
  bool constant = false;  // a scalar that every feed gets
  int64_t batch = 1;
  size_t feeds = 0;

  Tensor at(size_t index) const {
    if (constant) return *array;
    const auto first = static_cast<int64_t>(index) * batch;
    return rows_of(array, first, std::min(first + batch, array->shape()[0]), stacked);
  }
};

[[noreturn]] void misfit(const Value& input, const Tensor& array, const std::string& why) {
  throw Error(Fault::kFormat,
              fmt::format("input {}: an array of shape {} does not fit the declared shape {}: {}",
                          quoted(input.name), to_string(array.shape()),
                          input.shape ? to_string(*input.shape) : std::string("(unknown)"), why));
}

void check_extents(const Value& input, const Tensor& array, size_t first_of_array,
                   size_t first_of_input) {
  const Shape& wanted = *input.shape;
  for (size_t axis = first_of_input; axis < wanted.size(); ++axis) {
    const int64_t given = array.shape()[axis - first_of_input + first_of_array];
    if (wanted[axis] >= 0 && wanted[axis] != given)
      misfit(input, array,
             fmt::format("axis {} of a sample is {}, expected {}", axis, given, wanted[axis]));
  }
}

// NumPy's own floats are f64: for an input of f32 they are rounded, and the user is told.
Tensor rounded_to_f32(const Value& input, const Tensor& array) {
  const Tensor doubles = array.aligned();
  const auto from = doubles.data<double>();
  Tensor result = Tensor::zeros(DType::kF32, array.shape());
  const auto to = result.mutable_data<float>();
  for (size_t i = 0; i < from.size(); ++i) {
    to[i] = static_cast<float>(from[i]);
    if (std::isinf(to[i]) && !std::isinf(from[i])) {
      throw Error(Fault::kFormat,
                  fmt::format("input {}: element {} of the array is {}, past the range of f32",
                              quoted(input.name), i, from[i]));
    }
  }
  warn_once(input.name,
            fmt::format("input {}: the array's type is f64, it is rounded to the model's f32",
                        quoted(input.name)));
  return result;
}

// How an array is cut into feeds: by its rank stacked samples, batches along the first axis, or one
// constant for all feeds.
Cut make_cut(const Value& input, const Tensor& given, int64_t batch_asked) {
  const bool rounds = input.dtype == DType::kF32 && given.dtype() == DType::kF64;
  const Tensor array = rounds ? rounded_to_f32(input, given) : given;
  if (input.dtype != DType::kUnknown && input.dtype != array.dtype()) {
    throw Error(Fault::kFormat,
                fmt::format("input {}: the array's type is {}, the model expects {}",
                            quoted(input.name), name_of(array.dtype()), name_of(input.dtype)));
  }
  Cut cut{.input = input.name, .array = std::make_shared<const Tensor>(array.aligned())};
  const size_t rank = array.shape().size();
  if (input.shape && rank == input.shape->size() + 1) {
    check_extents(input, array, 1, 0);
    cut.stacked = true;
  } else if (rank == 0) {
    if (input.shape && !input.shape->empty()) misfit(input, array, "it has no axis of samples");
    cut.constant = true;
    return cut;
  } else if (!input.shape || rank == input.shape->size()) {
    if (input.shape) check_extents(input, array, 1, 1);
    const int64_t own = input.shape ? input.shape->at(0) : -1;
    if (own >= 1 && batch_asked > 0 && batch_asked != own) {
      throw Error(Fault::kUsage,
                  fmt::format("--batch {}: the first axis of input {} is fixed at {}", batch_asked,
                              quoted(input.name), own));
    }
    cut.batch = own >= 1 ? own : std::max<int64_t>(batch_asked, 1);
    if (own == 0) misfit(input, array, "the model takes no samples");
    if (own >= 1 && array.shape()[0] % own != 0) {
      misfit(input, array,
             fmt::format("{} samples are not a multiple of the batch {}", array.shape()[0], own));
    }
  } else {
    misfit(input, array,
           fmt::format("its rank is {}, expected {} or {}", rank, input.shape->size(),
                       input.shape->size() + 1));
  }
  if (array.shape()[0] == 0) misfit(input, array, "it contains no samples");
  cut.feeds = ceil_div(static_cast<size_t>(array.shape()[0]), static_cast<size_t>(cut.batch));
  return cut;
}

const std::pair<const std::string, Tensor>* find_array(const DataSet& data,
                                                       const std::string& name) {
  if (const auto found = data.arrays.find(name); found != data.arrays.end()) return &*found;
  for (const auto& entry : data.arrays) {
    if (same_name_mangled(entry.first, name)) return &entry;
  }
  return nullptr;
}

[[noreturn]] void missing_input(const std::string& name) {
  throw Error(Fault::kUsage,
              fmt::format("input {} is not given by the data, --state or --fill", quoted(name)));
}

void check_options(const Model& model, const DataSet& data) {
  const std::vector<std::string> outputs = output_names(model);
  for (const auto& [input, output] : data.states) {
    input_value(model, input);
    if (std::ranges::count(outputs, output) == 0) {
      throw Error(
          Fault::kUsage,
          fmt::format("state {}: the model has no output {}; it has {}", quoted(input),
                      quoted(output), printable(fmt::format("{}", fmt::join(outputs, ", ")))));
    }
  }
  for (const auto& [input, constant] : data.fill) input_value(model, input);
}

void add_fill(const Model& model, const DataSet& data, Feed& feed) {
  for (const auto& [input, constant] : data.fill) {
    if (feed.contains(input) || data.states.contains(input)) continue;
    const Value& value = input_value(model, input);
    const Shape shape = concrete_shape(model, value, feed);
    feed.emplace(input, filled(value, shape, constant));
  }
}

std::vector<Feed> ready_feeds(const Model& model, const DataSet& data) {
  std::vector<Feed> result;
  for (Feed feed : data.feeds) {
    for (const auto& [input, output] : data.states) feed.erase(input);
    add_fill(model, data, feed);
    for (const std::string& name : input_names(model)) {
      if (!feed.contains(name) && !data.states.contains(name)) missing_input(name);
    }
    result.push_back(std::move(feed));
  }
  return result;
}

std::vector<Cut> make_cuts(const Model& model, const DataSet& data) {
  std::vector<Cut> cuts;
  std::set<std::string> used;
  for (const ValueId id : model.graph.inputs) {
    const Value& value = model.graph.values[id];
    const auto* array = find_array(data, value.name);
    if (array != nullptr) used.insert(array->first);
    if (data.states.contains(value.name)) continue;
    if (array != nullptr) {
      cuts.push_back(make_cut(value, array->second, data.batch));
    } else if (!data.fill.contains(value.name) && !model.graph.weights.contains(id)) {
      missing_input(value.name);
    }
  }
  for (const auto& [name, array] : data.arrays) {
    if (!used.contains(name)) {
      throw Error(
          Fault::kFormat,
          fmt::format("array {} does not belong to an input of the model; it has {}", quoted(name),
                      printable(fmt::format("{}", fmt::join(all_input_names(model), ", ")))));
    }
  }
  return cuts;
}

}  // namespace

std::vector<Feed> make_feeds(const Model& model, const DataSet& data) {
  check_options(model, data);
  if (!data.feeds.empty()) return ready_feeds(model, data);
  const std::vector<Cut> cuts = make_cuts(model, data);
  const Cut* leader = nullptr;  // the first whose samples count
  for (const Cut& cut : cuts) {
    if (cut.constant) continue;
    if (leader == nullptr) leader = &cut;
    if (cut.feeds != leader->feeds) {
      throw Error(Fault::kFormat,
                  fmt::format("input {} gives {} feeds, input {} gives {}", quoted(leader->input),
                              leader->feeds, quoted(cut.input), cut.feeds));
    }
  }
  std::vector<Feed> feeds(leader == nullptr ? 1 : leader->feeds);
  for (size_t i = 0; i < feeds.size(); ++i) {
    for (const Cut& cut : cuts) feeds[i].emplace(cut.input, cut.at(i));
    add_fill(model, data, feeds[i]);
  }
  return feeds;
}

bool stacks_samples(const Model& model, const DataSet& data) {
  const std::vector<Cut> cuts = data.feeds.empty() ? make_cuts(model, data) : std::vector<Cut>();
  return std::ranges::any_of(cuts, &Cut::stacked);
}

FeedRunner::FeedRunner(Executor& executor, const Model& model,
                       std::map<std::string, std::string> states)
    : executor_(&executor), model_(&model), states_(std::move(states)) {
  DataSet options;
  options.states = states_;
  check_options(model, options);
  for (const ValueId id : model.graph.inputs) {
    const std::string& name = model.graph.values[id].name;
    const Weight* start = find_weight(model.graph, id);
    if (start != nullptr && states_.contains(name)) carried_.emplace(name, dense_of(*start));
  }
}

Feed FeedRunner::with_states(const Feed& feed) const {
  Feed whole = feed;
  for (const auto& [input, output] : states_) {
    const auto carried = carried_.find(input);
    if (carried != carried_.end()) {
      whole.insert_or_assign(input, carried->second);
    } else if (!feed.contains(input)) {  // which it does where another model has a default
      const Value& value = input_value(*model_, input);
      whole.insert_or_assign(input,
                             Tensor::zeros(value.dtype, concrete_shape(*model_, value, feed)));
    }
  }
  return whole;
}

Feed FeedRunner::run(const Feed& feed) {
  Feed outputs = executor_->run(with_states(feed));
  for (const auto& [input, output] : states_) carried_.insert_or_assign(input, outputs.at(output));
  return outputs;
}

void FeedRunner::bind(const Feed& feed) {
  bound_ = with_states(feed);
  executor_->bind(bound_);
}

void run_feeds(Executor& executor, const Model& model, const DataSet& data,
               const std::vector<Feed>& feeds,
               const std::function<void(size_t, const Feed&)>& sink) {
  FeedRunner runner(executor, model, data.states);
  for (size_t i = 0; i < feeds.size(); ++i) sink(i, runner.run(feeds[i]));
}

Feed random_feed(const Model& model, uint64_t seed, const DataSet& data, FreeExtents free) {
  check_options(model, data);
  Feed feed;
  uint64_t index = 0;
  for (const ValueId id : required_inputs(model.graph)) {
    const Value& value = model.graph.values[id];
    std::mt19937_64 generator(seed + 0x9E3779B97F4A7C15ULL * ++index);  // one stream per input
    if (data.states.contains(value.name) || data.fill.contains(value.name)) continue;
    const Shape shape = concrete_shape(model, value, feed, free);
    if (is_float(value.dtype)) {
      std::normal_distribution<float> normal;
      std::vector<float> values(element_count(shape));
      for (float& v : values) v = normal(generator);
      feed.emplace(value.name, from_f32(values, value.dtype, shape));
    } else {
      feed.emplace(value.name,
                   filled(value, shape, 1));  // masks that hide nothing, tokens that are there
    }
  }
  add_fill(model, data, feed);
  return feed;
}

}  // namespace espalier
