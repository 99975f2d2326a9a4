#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "lib/c/models/handles.h"
#include "lib/runtime/executor.h"

namespace espalier {
namespace {

// An output that is copied somewhere after each run.
struct BoundOutput {
  std::string name;
  void* data;
  size_t bytes;
};

struct CarriedState {
  std::string input, output;
  TensorView view;  // of the input
};

}  // namespace
}  // namespace espalier

struct espalier_session {
  espalier::Model model;  // shares its weights; declares inputs and outputs
  espalier::Executor executor;
  std::shared_ptr<uint64_t> stream;                                 // its number
  std::map<std::string, espalier::TensorView, std::less<>> inputs;  // memory of the session
  std::vector<espalier::BoundOutput> outputs;
  std::vector<espalier::CarriedState> states;
  bool outputs_valid;                     // of the last run, which carried states come from
  std::vector<std::byte> apart;           // for carried states that lie in each other's memory
  std::vector<espalier::NodeTime> times;  // of the last espalier_session_profile
};

namespace espalier {
namespace {

constexpr uint32_t kFlags =
    ESPALIER_EXACT_VALUES | ESPALIER_PROFILE | ESPALIER_ALWAYS_PACKED | ESPALIER_KEEP_STATE;

ExecutorOptions options_of(const espalier_session_desc* desc,
                           const std::shared_ptr<const uint64_t>& stream) {
  if (desc == nullptr) return {};
  const espalier_session_desc& given = described(desc, "desc");
  expect_flags(given.flags, kFlags, "session");
  expect(given.threads <= 1024, "threads is {}, expected 0 to 1024", given.threads);
  ExecutorOptions options;
  options.threads = given.threads;
  options.always_packed = (given.flags & ESPALIER_ALWAYS_PACKED) != 0;
  options.exact_values = (given.flags & ESPALIER_EXACT_VALUES) != 0;
  options.profile = (given.flags & ESPALIER_PROFILE) != 0;
  if ((given.flags & ESPALIER_KEEP_STATE) != 0) options.stream = stream;
  if (given.pool != nullptr) options.pool = &given.pool->pool;
  return options;
}

// A model without weights: what a session still asks it.
Model declarations(const Model& model) {
  Model result;
  result.graph.values = model.graph.values;
  result.graph.inputs = model.graph.inputs;
  result.graph.outputs = model.graph.outputs;
  return result;
}

const Value* find_value(const Model& model, const std::vector<ValueId>& ids,
                        std::string_view name) {
  const auto found =
      std::ranges::find_if(ids, [&](ValueId id) { return model.graph.values[id].name == name; });
  return found == ids.end() ? nullptr : &model.graph.values[*found];
}

const Value& declared_input(const espalier_session& session, std::string_view name) {
  const Value* value = find_value(session.model, session.model.graph.inputs, name);
  expect(value != nullptr, "input {}: the model has no such input", printable(name));
  return *value;
}

void expect_output(const espalier_session& session, std::string_view name) {
  expect(find_value(session.model, session.model.graph.outputs, name) != nullptr,
         "output {}: the model has no such output", printable(name));
}

// Extents as the caller gives them, else as declared with `free` for what is free; 0: nothing may be.
Dims dims_of(const Value& value, size_t rank, const int64_t* extents, int64_t free) {
  if (extents != nullptr) {
    expect(rank <= Dims::kMaxRank, "input {}: rank is {}, at most {}", printable(value.name), rank,
           Dims::kMaxRank);
    for (size_t i = 0; i < rank; ++i)
      expect(extents[i] >= 0, "input {}: extent {} is {}", printable(value.name), i, extents[i]);
    return Dims(std::span(extents, rank));
  }
  expect(rank == 0, "input {}: extents is null", printable(value.name));
  expect(value.shape.has_value(), "input {}: the model declares no shape, extents are expected",
         printable(value.name));
  Shape shape = *value.shape;
  for (int64_t& extent : shape) {
    expect(extent >= 0 || free > 0, "input {}: the model leaves extents free, extents are expected",
           printable(value.name));
    if (extent < 0) extent = free;
  }
  return Dims(shape);
}

size_t bytes_of_view(const TensorView& view) { return view.count() * bytes_in_view(view.dtype); }

TensorView own_memory(espalier_session& session, const Value& value, const Dims& dims) {
  const TensorView view = session.executor.input_view(value.name, dims);
  session.inputs.insert_or_assign(value.name, view);
  return view;
}

void forget_state(espalier_session& session, std::string_view input) {
  std::erase_if(session.states, [&](const CarriedState& state) { return state.input == input; });
}

void copy_outputs(const espalier_session& session) {
  for (const BoundOutput& output : session.outputs) {
    const TensorView view = session.executor.output_view(output.name);
    expect(bytes_of_view(view) == output.bytes, "output {} has {} bytes, {} are bound",
           printable(output.name), bytes_of_view(view), output.bytes);
    if (output.bytes != 0) std::memcpy(output.data, view.bytes, output.bytes);
  }
}

// An output may lie in an input's memory (a model that hands a state on as it is): then what one copy
// writes may be what a later one reads.
bool reads_other_state(const espalier_session& session, const CarriedState& state,
                       const TensorView& from) {
  return std::ranges::any_of(session.states, [&](const CarriedState& other) {
    return &other != &state && other.view.bytes == from.bytes;
  });
}

// Copies outputs to the states that they carry. An output that shows the memory of another state is
// put aside first, so that no copy reads what one before it wrote.
void carry_states(espalier_session& session) {
  size_t apart = 0;  // bytes that are copied twice
  for (const CarriedState& state : session.states) {
    const TensorView from = session.executor.output_view(state.output);
    expect(from.dtype == state.view.dtype && from.count() == state.view.count(),
           "output {} has {} elements of {}, its state {} has {} of {}", printable(state.output),
           from.count(), name_of(from.dtype), printable(state.input), state.view.count(),
           name_of(state.view.dtype));
    if (reads_other_state(session, state, from)) apart += bytes_of_view(from);
  }
  if (session.apart.size() < apart) session.apart.resize(apart);
  const auto each = [&](const auto& copy) {
    std::byte* kept = session.apart.data();
    for (const CarriedState& state : session.states) {
      const TensorView from = session.executor.output_view(state.output);
      const bool twice = reads_other_state(session, state, from);
      if (from.count() != 0) copy(state, from, twice ? kept : nullptr);
      if (twice) kept += bytes_of_view(from);
    }
  };
  if (apart != 0)
    each([](const CarriedState&, const TensorView& from, std::byte* kept) {
      if (kept != nullptr) std::memcpy(kept, from.bytes, bytes_of_view(from));
    });
  each([](const CarriedState& state, const TensorView& from, const std::byte* kept) {
    std::memmove(state.view.bytes, kept != nullptr ? kept : from.bytes, bytes_of_view(from));
  });
}

void zero(const TensorView& view) {
  if (view.count() != 0) std::memset(view.bytes, 0, bytes_of_view(view));
}

}  // namespace
}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_session_create(const espalier_model* model,
                                        const espalier_session_desc* desc,
                                        espalier_session** session) {
  return guarded([&] {
    espalier_session*& result = not_null(session, "session");
    result = nullptr;
    const Model& of = not_null(model, "model").model;
    const auto stream = std::make_shared<uint64_t>(0);
    result = new espalier_session{.model = declarations(of),
                                  .executor = Executor(of, options_of(desc, stream)),
                                  .stream = stream,
                                  .inputs = {},
                                  .outputs = {},
                                  .states = {},
                                  .outputs_valid = false,
                                  .apart = {},
                                  .times = {}};
  });
}

void espalier_session_destroy(espalier_session* session) { delete session; }

espalier_status espalier_session_input(espalier_session* session, const char* name, size_t rank,
                                       const int64_t* extents, void** data) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    void*& result = not_null(data, "data");
    const Value& value = declared_input(of, &not_null(name, "name"));
    const TensorView view = own_memory(of, value, dims_of(value, rank, extents, 0));
    for (CarriedState& state : of.states) {
      if (state.input != value.name) continue;
      state.view = view;
      zero(view);
    }
    result = view.bytes;
  });
}

espalier_status espalier_session_bind_input(espalier_session* session, const char* name,
                                            size_t rank, const int64_t* extents, const void* data,
                                            size_t bytes) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    const Value& value = declared_input(of, &not_null(name, "name"));
    const Dims dims = dims_of(value, rank, extents, 0);
    // The executor does not write to its inputs.
    of.executor.bind_view(value.name, dims,
                          {static_cast<std::byte*>(const_cast<void*>(data)), bytes});
    of.inputs.erase(value.name);
    forget_state(of, value.name);
  });
}

espalier_status espalier_session_bind_output(espalier_session* session, const char* name,
                                             void* data, size_t bytes) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    const std::string_view output = &not_null(name, "name");
    expect_output(of, output);
    std::erase_if(of.outputs, [&](const BoundOutput& bound) { return bound.name == output; });
    if (data != nullptr) of.outputs.push_back({std::string(output), data, bytes});
  });
}

espalier_status espalier_session_carry(espalier_session* session, const char* input,
                                       const char* output) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    const Value& value = declared_input(of, &not_null(input, "input"));
    const std::string_view from = &not_null(output, "output");
    expect_output(of, from);
    const auto own = of.inputs.find(value.name);
    const TensorView view =
        own != of.inputs.end() ? own->second : own_memory(of, value, dims_of(value, 0, nullptr, 1));
    forget_state(of, value.name);
    of.states.push_back({value.name, std::string(from), view});
    of.outputs_valid = false;  // states begin at zero together
    for (const CarriedState& state : of.states) zero(state.view);
  });
}

espalier_status espalier_session_reset(espalier_session* session) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    ++*of.stream;
    of.outputs_valid = false;
    for (const CarriedState& state : of.states) zero(state.view);
  });
}

espalier_status espalier_session_run(espalier_session* session) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    // Not after the run: an output may lie in an input's memory, and is read until the next one.
    if (of.outputs_valid) carry_states(of);
    of.outputs_valid = false;
    of.executor.run_bound();
    of.outputs_valid = true;
    copy_outputs(of);
  });
}

espalier_status espalier_session_output(const espalier_session* session, const char* name,
                                        espalier_tensor* tensor) {
  return guarded([&] {
    const espalier_session& of = not_null(session, "session");
    described(tensor, "tensor");
    const TensorView view = of.executor.output_view(&not_null(name, "name"));
    *tensor = {.size = sizeof *tensor,
               .type = c_type_of(view.dtype),
               .rank = static_cast<int32_t>(view.dims.rank()),
               .extents = {},
               .data = view.bytes,
               .bytes = bytes_of_view(view)};
    std::ranges::copy(view.dims, tensor->extents);
  });
}

espalier_status espalier_session_profile(espalier_session* session, espalier_layer* layers,
                                         size_t capacity, size_t* count) {
  return guarded([&] {
    espalier_session& of = not_null(session, "session");
    size_t& result = not_null(count, "count");
    of.times = of.executor.times();
    result = of.times.size();
    expect(layers != nullptr || capacity == 0, "layers is null");
    for (size_t i = 0; i < std::min(capacity, of.times.size()); ++i)
      layers[i] = {of.times[i].op.c_str(), of.times[i].name.c_str(), of.times[i].seconds};
  });
}

size_t espalier_session_weight_bytes(const espalier_session* session) {
  return session == nullptr ? 0 : session->executor.weight_bytes();
}
size_t espalier_session_value_bytes(const espalier_session* session) {
  return session == nullptr ? 0 : session->executor.activation_bytes();
}

}  // extern "C"
