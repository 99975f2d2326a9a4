// Loop and Scan: a subgraph run again and again, with values carried from one run to the next.

#include "lib/runtime/body.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "lib/ops/op_util.h"

namespace espalier {
namespace {

size_t bytes_of_view(const TensorView& view) { return view.count() * bytes_in_view(view.dtype); }

void copy_bytes(const TensorView& from, std::byte* to) {
  if (const size_t bytes = bytes_of_view(from); bytes != 0) std::memcpy(to, from.bytes, bytes);
}

// Copies of values, which stay while the body runs again.
class Kept {
 public:
  // Memory for a value of that type and shape.
  TensorView room(DType dtype, const Dims& dims) {
    TensorView view{dtype, dims, nullptr};
    if (buffer_.data() == nullptr || buffer_.bytes() < bytes_of_view(view)) {
      buffer_ = AlignedBuffer(bytes_of_view(view));
    }
    view.bytes = buffer_.data();
    return view;
  }
  TensorView set(const TensorView& from) {
    const TensorView to = room(from.dtype, from.dims);
    copy_bytes(from, to.bytes);
    return to;
  }

 private:
  AlignedBuffer buffer_;
};

// The values that a body hands to its next run: two sets of copies, as a body may hand its inputs
// on in another order.
class Carried {
 public:
  explicit Carried(size_t count) : views(count), now_(count), next_(count) {}

  // Body outputs from `first` on become the views.
  void take(const Body& body, size_t first) {
    for (size_t i = 0; i < views.size(); ++i) {
      const TensorView made = body.output(first + i);
      if (made.dtype != views[i].dtype) {
        fail("a carried value was {} and became {}", name_of(views[i].dtype), name_of(made.dtype));
      }
      views[i] = next_[i].set(made);
    }
    std::swap(now_, next_);
  }

  std::vector<TensorView> views;

 private:
  std::vector<Kept> now_, next_;
};

void check_one_more(const TensorView& value, DType dtype, const Dims& dims) {
  if (value.dtype == dtype && value.dims == dims) return;
  fail("a scan output was {} {} and became {} {}", name_of(dtype), to_string(dims),
       name_of(value.dtype), to_string(value.dims));
}

// What a scan output is where the body never ran: as declared, with unknown extents 0.
std::pair<DType, Dims> declared(const Value& value) {
  if (value.dtype == DType::kUnknown || !value.shape) {
    fail("scan output {} of a body that never runs has no declared type", printable(value.name));
  }
  Dims dims;
  for (const int64_t extent : *value.shape) dims.push_back(std::max<int64_t>(extent, 0));
  return {value.dtype, dims};
}

Dims with_axis(const Dims& dims, size_t axis, int64_t extent) {
  Dims result;
  for (size_t i = 0; i <= dims.rank(); ++i) {
    if (i == axis) result.push_back(extent);
    if (i < dims.rank()) result.push_back(dims[i]);
  }
  return result;
}

// Scan outputs of a Loop, whose number is not known before.
class Rows {
 public:
  void clear() {
    count_ = 0;
    bytes_.clear();
  }
  void add(const TensorView& value, size_t limit) {
    if (count_++ == 0) {
      dtype_ = value.dtype;
      dims_ = value.dims;
    }
    check_one_more(value, dtype_, dims_);
    const size_t bytes = bytes_of_view(value);
    if (bytes_.size() > limit - std::min(bytes, limit)) {
      unsupported("scan outputs exceed the {} bytes of memory", limit);
    }
    bytes_.resize(bytes_.size() + bytes);
    copy_bytes(value, bytes_.data() + (bytes_.size() - bytes));
  }
  void give(RunContext& run, size_t index, const Value& value) {
    if (count_ == 0) std::tie(dtype_, dims_) = declared(value);
    const TensorView y = run.output(index, dtype_, with_axis(dims_, 0, count_));
    if (!bytes_.empty()) std::memcpy(y.bytes, bytes_.data(), bytes_.size());
  }

 private:
  int64_t count_ = 0;
  DType dtype_ = DType::kUnknown;
  Dims dims_;
  std::vector<std::byte> bytes_;
};

bool truth_of(const TensorView& view) {
  if (view.dtype != DType::kBool || view.count() != 1) fail("the condition is not one bool");
  return *view.data<uint8_t>() != 0;
}

// A number that the runtime makes: a scalar, or [1] where the body says so.
Dims one_value(const Value& value) {
  return value.shape && value.shape->size() == 1 ? Dims{1} : Dims{};
}

struct Loop {
  Body body;
  size_t carried_count;
  Carried carried;
  std::vector<Rows> rows;
  int64_t iteration = 0;
  uint8_t condition = 1;
  size_t limit = physical_memory();

  Loop(Body made, size_t count)
      : body(std::move(made)),
        carried_count(count),
        carried(count),
        rows(body.outputs.size() - 1 - count) {}

  void bind() {
    GraphRunner& runner = *body.runner;
    const std::vector<ValueId>& inputs = runner.inputs();
    runner.bind(inputs[0],
                {DType::kI64, one_value(body.inputs[0]), reinterpret_cast<std::byte*>(&iteration)});
    runner.bind(inputs[1], {DType::kBool, one_value(body.inputs[1]),
                            reinterpret_cast<std::byte*>(&condition)});
    for (size_t i = 0; i < carried_count; ++i) runner.bind(inputs[2 + i], carried.views[i]);
  }

  // Runs the body until the trip count or its condition ends it: carried values pass from one run
  // to the next, scan outputs are collected row by row.
  void run(RunContext& context) {
    int64_t trips = INT64_MAX;
    if (context.has_input(0)) {
      const TensorView& count = context.input(0);
      if (is_float(count.dtype)) fail("the trip count is {}", name_of(count.dtype));
      if (count.count() != 1) fail("the trip count has shape {}", to_string(count.dims));
      trips = long_ints_of(count)[0];
    }
    condition = !context.has_input(1) || truth_of(context.input(1)) ? 1 : 0;
    for (size_t i = 0; i < carried_count; ++i) carried.views[i] = context.input(2 + i);
    for (Rows& row : rows) row.clear();
    body.bind_captures(context);
    for (iteration = 0; condition != 0 && iteration < trips; ++iteration) {
      bind();
      body.runner->run();
      condition = truth_of(body.output(0)) ? 1 : 0;
      for (size_t i = 0; i < rows.size(); ++i) {
        if (context.wants_output(carried_count + i)) {
          rows[i].add(body.output(1 + carried_count + i), limit);
        }
      }
      carried.take(body, 1);
    }
    for (size_t i = 0; i < carried_count; ++i) {
      if (!context.wants_output(i)) continue;
      const TensorView& view = carried.views[i];
      copy_bytes(view, context.output(i, view.dtype, view.dims).bytes);
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!context.wants_output(carried_count + i)) continue;
      rows[i].give(context, carried_count + i, body.outputs[1 + carried_count + i]);
    }
  }
};

// Axes and directions of a Scan, one for each scanned input or output.
std::vector<int64_t> one_each(const Node& node, const char* name, size_t count) {
  std::vector<int64_t> values = ints_attribute(node, name, std::vector<int64_t>(count, 0));
  if (values.size() != count) fail("{} has {} values, expected {}", name, values.size(), count);
  return values;
}

std::vector<bool> directions(const Node& node, const char* name, size_t count) {
  std::vector<bool> backwards;
  for (const int64_t value : one_each(node, name, count)) {
    if (value != 0 && value != 1) fail("{} holds {}, expected 0 or 1", name, value);
    backwards.push_back(value == 1);
  }
  return backwards;
}

Dims without_axis(const Dims& dims, size_t axis) {
  Dims result;
  for (size_t i = 0; i < dims.rank(); ++i) {
    if (i != axis) result.push_back(dims[i]);
  }
  return result;
}

// Where place `at` of `axis` lies in a tensor: the strides of the other axes, the first element.
struct Slice {
  Dims dims;
  Strides strides{};
  std::byte* bytes;

  Slice(const TensorView& whole, size_t axis, size_t at) : dims(without_axis(whole.dims, axis)) {
    const Strides own = row_major(whole.dims);
    for (size_t i = 0, to = 0; i < whole.dims.rank(); ++i) {
      if (i != axis) strides[to++] = own[i];
    }
    bytes = whole.bytes + at * static_cast<size_t>(own[axis]) * bytes_in_view(whole.dtype);
  }
};

// The part of a tensor at place `at` of its first axis.
TensorView part(const TensorView& whole, size_t at) {
  const Slice slice(whole, 0, at);
  return {whole.dtype, slice.dims, slice.bytes};
}

struct Scan {
  Body body;
  bool batched;  // opset 8: a batch of sequences, and their lengths as input 0
  size_t states, scanned, made;
  std::vector<int64_t> input_axes, output_axes;
  std::vector<bool> input_backwards, output_backwards;
  Carried carried;
  std::vector<Kept> slices;
  std::vector<TensorView> results;  // of all sequences: states, then scan outputs

  Scan(Body from, const Node& node, bool old, size_t scan_inputs)
      : body(std::move(from)),
        batched(old),
        states(body.inputs.size() - scan_inputs),
        scanned(scan_inputs),
        made(body.outputs.size() - states),
        input_axes(one_each(node, "scan_input_axes", scanned)),
        output_axes(one_each(node, "scan_output_axes", made)),
        input_backwards(directions(node, old ? "directions" : "scan_input_directions", scanned)),
        output_backwards(directions(node, "scan_output_directions", made)),
        carried(states),
        slices(scanned) {}

  size_t first_input() const { return batched ? 1 : 0; }

  // Length of what is scanned: all inputs have the same.
  size_t length_of(const std::vector<TensorView>& inputs) const {
    int64_t length = -1;
    for (size_t i = 0; i < scanned; ++i) {
      const Dims& dims = inputs[i].dims;
      const int64_t extent = dims[axis_of(input_axes[i], dims.rank())];
      if (length >= 0 && extent != length)
        fail("scan inputs have lengths {} and {}", length, extent);
      length = extent;
    }
    return static_cast<size_t>(length);
  }

  // Memory for result `index` of all sequences, made when its shape is known.
  TensorView result(RunContext& context, size_t index, DType dtype, const Dims& dims,
                    size_t batch) {
    if (results[index].bytes == nullptr) {
      const Dims whole = batched ? with_axis(dims, 0, static_cast<int64_t>(batch)) : dims;
      results[index] = context.output(index, dtype, whole);
      // Steps behind the end of a short sequence are zeros.
      if (bytes_of_view(results[index]) != 0) {
        std::memset(results[index].bytes, 0, bytes_of_view(results[index]));
      }
    }
    return results[index];
  }

  void put(RunContext& context, size_t index, const TensorView& value, size_t step, size_t length,
           size_t sequence, size_t batch) {
    const size_t k = index - states;
    const size_t axis = axis_of(output_axes[k], value.dims.rank() + 1);
    const Dims dims = with_axis(value.dims, axis, static_cast<int64_t>(length));
    const TensorView all = result(context, index, value.dtype, dims, batch);
    const TensorView whole = batched ? part(all, sequence) : all;
    check_one_more(value, whole.dtype, without_axis(whole.dims, axis));
    const Slice to(whole, axis, output_backwards[k] ? length - 1 - step : step);
    copy_strided(bytes_in_view(value.dtype), value.dims, value.bytes, row_major(value.dims),
                 to.bytes, to.strides);
  }

  void step(const std::vector<TensorView>& inputs, size_t step, size_t length) {
    GraphRunner& runner = *body.runner;
    for (size_t i = 0; i < states; ++i) runner.bind(runner.inputs()[i], carried.views[i]);
    for (size_t i = 0; i < scanned; ++i) {
      const TensorView& whole = inputs[i];
      const size_t axis = axis_of(input_axes[i], whole.dims.rank());
      const Slice from(whole, axis, input_backwards[i] ? length - 1 - step : step);
      TensorView slice{whole.dtype, from.dims, from.bytes};
      if (axis != 0) {
        slice = slices[i].room(whole.dtype, from.dims);
        copy_strided(bytes_in_view(whole.dtype), from.dims, from.bytes, from.strides, slice.bytes,
                     row_major(from.dims));
      }
      runner.bind(runner.inputs()[states + i], slice);
    }
    runner.run();
  }

  // One sequence: `length` steps of `room`.
  void run_one(RunContext& context, const std::vector<TensorView>& inputs, size_t length,
               size_t room, size_t sequence, size_t batch) {
    for (size_t s = 0; s < length; ++s) {
      step(inputs, s, length);
      for (size_t k = states; k < states + made; ++k) {
        if (context.wants_output(k)) {
          put(context, k, body.output(k), s, batched ? room : length, sequence, batch);
        }
      }
      carried.take(body, 0);
    }
    for (size_t i = 0; i < states; ++i) {
      if (!context.wants_output(i)) continue;
      const TensorView& view = carried.views[i];
      const TensorView all = result(context, i, view.dtype, view.dims, batch);
      const TensorView whole = batched ? part(all, sequence) : all;
      if (!(whole.dims == view.dims)) fail("final states of several shapes");
      copy_bytes(view, whole.bytes);
    }
  }

  // Checks batch and lengths, runs sequence after sequence, and makes the outputs of a scan that
  // had no step.
  void run(RunContext& context) {
    results.assign(states + made, TensorView{});
    body.bind_captures(context);
    const size_t first = first_input();
    const auto input = [&](size_t i, size_t sequence) {
      const TensorView& view = context.input(first + i);
      if (!batched) return view;
      if (view.dims.rank() == 0) fail("input {} has no batch axis", first + i);
      return part(view, sequence);
    };
    const size_t batch = batched ? static_cast<size_t>(context.input(first).dims.rank() == 0
                                                           ? 0
                                                           : context.input(first).dims[0])
                                 : 1;
    for (size_t i = 0; batched && i < states + scanned; ++i) {
      const Dims& dims = context.input(first + i).dims;
      if (dims.rank() == 0 || static_cast<size_t>(dims[0]) != batch) {
        fail("input {} has shape {}, expected a batch of {}", first + i, to_string(dims), batch);
      }
    }
    std::vector<int64_t> lengths;
    if (batched && context.has_input(0)) lengths = long_ints_of(context.input(0));
    if (!lengths.empty() && lengths.size() != batch) fail("{} lengths", lengths.size());
    for (size_t sequence = 0; sequence < batch; ++sequence) {
      for (size_t i = 0; i < states; ++i) carried.views[i] = input(i, sequence);
      std::vector<TensorView> inputs;
      for (size_t i = 0; i < scanned; ++i) inputs.push_back(input(states + i, sequence));
      const size_t room = length_of(inputs);
      size_t length = room;
      if (!lengths.empty()) {
        if (lengths[sequence] < 0 || static_cast<size_t>(lengths[sequence]) > room) {
          fail("a length is {}, expected 0 to {}", lengths[sequence], room);
        }
        length = static_cast<size_t>(lengths[sequence]);
      }
      run_one(context, inputs, length, room, sequence, batch);
    }
    for (size_t k = 0; k < states + made; ++k) {
      if (!context.wants_output(k) || results[k].bytes != nullptr) continue;
      const auto [dtype, dims] = declared(body.outputs[k]);
      const size_t axis = k < states ? 0 : axis_of(output_axes[k - states], dims.rank() + 1);
      result(context, k, dtype, k < states ? dims : with_axis(dims, axis, 0), batch);
    }
  }
};

void check_body(const Body& body, size_t inputs, size_t outputs_at_least, const Node& node,
                size_t node_outputs) {
  if (body.inputs.size() != inputs || body.runner->inputs().size() != inputs) {
    fail("the body has {} inputs, expected {}", body.inputs.size(), inputs);
  }
  if (body.outputs.size() < outputs_at_least || node.outputs.size() > node_outputs) {
    fail("the body has {} outputs for {} of the node", body.outputs.size(), node.outputs.size());
  }
}

}  // namespace

void Body::bind_captures(const RunContext& context) const {
  for (size_t i = 0; i < runner->captures().size(); ++i) {
    runner->bind(runner->captures()[i].second, context.input(first_capture + i));
  }
}

Run make_loop(Body body, const Node& node) {
  const size_t carried = node.inputs.size() < 2 ? 0 : node.inputs.size() - 2;
  check_body(body, carried + 2, carried + 1, node, body.outputs.size() - 1);
  auto loop = std::make_shared<Loop>(std::move(body), carried);
  return [loop](RunContext& context) { loop->run(context); };
}

Run make_scan(Body body, const Node& node, int64_t opset) {
  const bool batched = opset < 9;
  const int64_t scanned = int_attribute(node, "num_scan_inputs", 0);
  if (scanned < 1 || static_cast<size_t>(scanned) > body.inputs.size()) {
    fail("num_scan_inputs is {}, expected 1 to {}", scanned, body.inputs.size());
  }
  const size_t named = node.inputs.size() - (batched ? std::min<size_t>(node.inputs.size(), 1) : 0);
  const size_t states = body.inputs.size() - static_cast<size_t>(scanned);
  check_body(body, named, states, node, body.outputs.size());
  auto scan = std::make_shared<Scan>(std::move(body), node, batched, static_cast<size_t>(scanned));
  return [scan](RunContext& context) { scan->run(context); };
}

}  // namespace espalier
