// A model and its session, by the C interface.
#include <fmt/format.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "apps/python/src/arrays.h"
#include "apps/python/src/failure.h"
#include "lib/c/models/espalier.h"

namespace nb = nanobind;

namespace espalier::python {
namespace {

struct Close {
  void operator()(espalier_model* model) const { espalier_model_destroy(model); }
  void operator()(espalier_session* session) const { espalier_session_destroy(session); }
};

// What lives as long as the session or an array that shows its memory.
struct Handles {
  std::unique_ptr<espalier_model, Close> model;
  std::unique_ptr<espalier_session, Close> session;
  std::atomic<size_t> views = 0;  // arrays of view() that are alive
};

// An array as the C interface takes it.
struct Place {
  std::vector<int64_t> extents;
  const void* data;
  size_t bytes;
};

// An output of a run, in memory that an array will own.
struct Result {
  espalier_type type;
  std::vector<size_t> shape;
  Buffer buffer;
};

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... arguments) {
  throw Failure(ESPALIER_ERROR_USAGE, fmt::format(text, std::forward<Args>(arguments)...));
}

class Session {
 public:
  Session(const std::string& path, size_t threads, uint32_t flags) {
    const nb::gil_scoped_release unlock;
    espalier_model* model = nullptr;
    expect_ok(espalier_model_open(path.c_str(), &model));
    begin(model, threads, flags);
  }
  Session(const nb::bytes& file, size_t threads, uint32_t flags) {
    const nb::gil_scoped_release unlock;
    espalier_model* model = nullptr;
    expect_ok(espalier_model_open_memory(file.data(), file.size(), &model));
    begin(model, threads, flags);
  }

  nb::list inputs() const {
    return described(espalier_model_inputs(model()), &espalier_model_input);
  }
  nb::list outputs() const {
    return described(espalier_model_outputs(model()), &espalier_model_output);
  }

  void bind_input(const std::string& name, const Input& array) {
    const Place place = place_of(name, array);
    {
      const nb::gil_scoped_release unlock;
      const std::lock_guard lock(mutex_);
      expect_no_views();
      bind(name, place);
    }
    bound_.insert_or_assign(name, array);
  }

  void bind_output(const std::string& name, const std::optional<Output>& array) {
    if (array) expect_type("output", name, array->dtype(), output_types_);
    {
      const nb::gil_scoped_release unlock;
      const std::lock_guard lock(mutex_);
      expect_ok(espalier_session_bind_output(session(), name.c_str(),
                                             array ? array->data_handle() : nullptr,
                                             array ? array->nbytes() : 0));
    }
    if (array) {
      written_.insert_or_assign(name, *array);
    } else {
      written_.erase(name);
    }
  }

  void carry(const std::string& input, const std::string& output,
             const std::optional<std::vector<int64_t>>& shape) {
    const nb::gil_scoped_release unlock;
    const std::lock_guard lock(mutex_);
    expect_no_views();
    void* data = nullptr;
    if (shape)
      expect_ok(
          espalier_session_input(session(), input.c_str(), shape->size(), shape->data(), &data));
    expect_ok(espalier_session_carry(session(), input.c_str(), output.c_str()));
    gone_.erase(input);
  }

  void reset() {
    const nb::gil_scoped_release unlock;
    const std::lock_guard lock(mutex_);
    expect_ok(espalier_session_reset(session()));
  }

  void step() {
    const nb::gil_scoped_release unlock;
    const std::lock_guard lock(mutex_);
    run_checked();
  }

  // Reads feeds where they lie, runs, and gives copies of the outputs; feeds are not bound afterwards.
  nb::list run(const std::vector<std::string>& outputs, const nb::dict& feeds) {
    std::vector<std::pair<std::string, Place>> places;
    std::vector<Input> held;
    for (const auto& [key, value] : feeds) {
      std::string name = nb::cast<std::string>(key);
      held.push_back(nb::cast<Input>(value, false));
      Place place = place_of(name, held.back());
      places.emplace_back(std::move(name), std::move(place));
    }
    std::vector<Result> results;
    {
      const nb::gil_scoped_release unlock;
      const std::lock_guard lock(mutex_);
      expect_no_views();
      // Their memory is the caller's again after this run, however it or the binding ends.
      const struct Forget {
        Session& session;
        const std::vector<std::pair<std::string, Place>>& places;
        ~Forget() {
          for (const auto& [name, place] : places) session.gone_.insert(name);
        }
      } forget{*this, places};
      for (const auto& [name, place] : places) bind(name, place);
      run_checked();
      for (const std::string& name : outputs) results.push_back(copied(name));
    }
    for (const auto& [name, place] : places) bound_.erase(name);
    nb::list list;
    for (Result& result : results) list.append(result.buffer.array(result.type, result.shape));
    return list;
  }

  nb::object output(const std::string& name) {
    std::optional<Result> result;
    {
      const nb::gil_scoped_release unlock;
      const std::lock_guard lock(mutex_);
      result.emplace(copied(name));
    }
    return result->buffer.array(result->type, result->shape);
  }

  // While such an array lives the session refuses to run: its memory is used again by the next run.
  nb::object view(const std::string& name) {
    struct Alive {
      std::shared_ptr<Handles> handles;
      ~Alive() { --handles->views; }
    };
    espalier_tensor tensor{};
    {
      const nb::gil_scoped_release unlock;
      const std::lock_guard lock(mutex_);
      tensor = tensor_of(name);
      ++handles_->views;
    }
    nb::capsule owner(new Alive{handles_},
                      [](void* alive) noexcept { delete static_cast<Alive*>(alive); });
    const std::vector<size_t> shape(tensor.extents, tensor.extents + tensor.rank);
    using View = nb::ndarray<nb::numpy, nb::ro>;
    return nb::cast(
        View(tensor.data, shape.size(), shape.data(), owner, nullptr, dtype_of_type(tensor.type)));
  }

  nb::list profile() {
    std::vector<espalier_layer> layers;
    {
      const nb::gil_scoped_release unlock;
      const std::lock_guard lock(mutex_);
      size_t count = 0;
      expect_ok(espalier_session_profile(session(), nullptr, 0, &count));
      layers.resize(count);
      expect_ok(espalier_session_profile(session(), layers.data(), count, &count));
    }
    nb::list list;
    for (const espalier_layer& layer : layers)
      list.append(nb::make_tuple(layer.op, layer.name, layer.seconds));
    return list;
  }

  size_t weight_bytes() const { return espalier_session_weight_bytes(session()); }
  size_t value_bytes() const { return espalier_session_value_bytes(session()); }

 private:
  using Types = std::map<std::string, espalier_type, std::less<>>;

  void begin(espalier_model* model, size_t threads, uint32_t flags) {
    handles_ = std::make_shared<Handles>();
    handles_->model.reset(model);
    const espalier_session_desc desc{
        .size = sizeof desc, .threads = threads, .pool = nullptr, .flags = flags};
    espalier_session* session = nullptr;
    expect_ok(espalier_session_create(model, &desc, &session));
    handles_->session.reset(session);
    for (size_t i = 0; i < espalier_model_inputs(model); ++i) {
      const espalier_value_info info = info_of(i, &espalier_model_input);
      input_types_[info.name] = info.type;
    }
    for (size_t i = 0; i < espalier_model_outputs(model); ++i) {
      const espalier_value_info info = info_of(i, &espalier_model_output);
      output_types_[info.name] = info.type;
    }
  }

  const espalier_model* model() const { return handles_->model.get(); }
  espalier_session* session() const { return handles_->session.get(); }

  using Describe = espalier_status (*)(const espalier_model*, size_t, espalier_value_info*);
  espalier_value_info info_of(size_t index, Describe describe) const {
    espalier_value_info info{};
    info.size = sizeof info;
    expect_ok(describe(model(), index, &info));
    return info;
  }

  // (name, type, shape): extents are numbers, names, or None; the shape is None where there is none.
  nb::list described(size_t count, Describe describe) const {
    nb::list list;
    for (size_t i = 0; i < count; ++i) {
      const espalier_value_info info = info_of(i, describe);
      nb::object shape = nb::none();
      if (info.rank >= 0) {
        nb::list extents;
        for (int32_t axis = 0; axis < info.rank; ++axis) {
          const std::string_view name = info.dimensions[axis];
          if (info.extents[axis] >= 0) {
            extents.append(info.extents[axis]);
          } else if (name.empty()) {
            extents.append(nb::none());
          } else {
            extents.append(nb::str(name.data(), name.size()));
          }
        }
        shape = std::move(extents);
      }
      const std::string_view type = name_of_type(info.type);
      list.append(nb::make_tuple(info.name, nb::str(type.data(), type.size()), shape));
    }
    return list;
  }

  static void expect_type(const char* what, const std::string& name, nb::dlpack::dtype dtype,
                          const Types& types) {
    const auto declared = types.find(name);
    if (declared == types.end()) refuse("{} {}: the model has no such {}", what, name, what);
    const espalier_type found = type_of(dtype);
    const bool bits = declared->second == ESPALIER_BF16 && found == ESPALIER_U16;
    if (declared->second < 0)
      throw Failure(ESPALIER_ERROR_UNSUPPORTED,
                    fmt::format("{} {}: its type is not supported", what, name));
    if (found != declared->second && !bits)
      refuse("{} {}: type is {}, expected {}", what, name, name_of_type(found),
             name_of_type(declared->second));
  }

  Place place_of(const std::string& name, const Input& array) const {
    expect_type("input", name, array.dtype(), input_types_);
    return {{array.shape_ptr(), array.shape_ptr() + array.ndim()},
            static_cast<const std::byte*>(array.data_handle()) + array.byte_offset(),
            array.nbytes()};
  }

  // With the lock held, as all below.
  void bind(const std::string& name, const Place& place) {
    static constexpr int64_t kNone = 0;
    const int64_t* extents = place.extents.empty() ? &kNone : place.extents.data();
    expect_ok(espalier_session_bind_input(session(), name.c_str(), place.extents.size(), extents,
                                          place.data, place.bytes));
    gone_.erase(name);
  }

  void expect_no_views() const {
    if (const size_t count = handles_->views; count != 0)
      refuse(
          "the session cannot go on: {} of its outputs is still used by an array of view(), which "
          "must be deleted",
          count);
  }

  void run_checked() {
    expect_no_views();
    if (!gone_.empty())
      refuse("input {}: expected an array, the one of the last run is no longer bound",
             *gone_.begin());
    expect_ok(espalier_session_run(session()));
  }

  espalier_tensor tensor_of(const std::string& name) const {
    espalier_tensor tensor{};
    tensor.size = sizeof tensor;
    expect_ok(espalier_session_output(session(), name.c_str(), &tensor));
    if (tensor.type < 0)
      throw Failure(ESPALIER_ERROR_UNSUPPORTED,
                    fmt::format("output {}: its type is not supported", name));
    return tensor;
  }

  Result copied(const std::string& name) const {
    const espalier_tensor tensor = tensor_of(name);
    Result result{
        tensor.type, {tensor.extents, tensor.extents + tensor.rank}, Buffer(tensor.bytes)};
    if (tensor.bytes != 0) std::memcpy(result.buffer.data(), tensor.data, tensor.bytes);
    return result;
  }

  std::shared_ptr<Handles> handles_;
  std::mutex mutex_;  // one call at a time; never waited for with Python's lock held
  Types input_types_, output_types_;
  std::map<std::string, Input> bound_;  // keeps them alive
  std::map<std::string, Output> written_;
  std::set<std::string> gone_;  // inputs whose array was that of a run()
};

}  // namespace

// The class and its methods, typed in espalier/_core.pyi.
void add_session(nb::module_& module) {
  module.attr("PROFILE") = ESPALIER_PROFILE;
  module.attr("ALWAYS_PACKED") = ESPALIER_ALWAYS_PACKED;
  module.attr("KEEP_STATE") = ESPALIER_KEEP_STATE;
  module.attr("EXACT_VALUES") = ESPALIER_EXACT_VALUES;
  nb::class_<Session>(module, "Session")
      .def(nb::init<const std::string&, size_t, uint32_t>(), nb::arg("path"), nb::arg("threads"),
           nb::arg("flags"))
      .def(nb::init<const nb::bytes&, size_t, uint32_t>(), nb::arg("file"), nb::arg("threads"),
           nb::arg("flags"))
      .def("inputs", &Session::inputs)
      .def("outputs", &Session::outputs)
      .def("bind_input", &Session::bind_input, nb::arg("name"), nb::arg("array").noconvert())
      .def("bind_output", &Session::bind_output, nb::arg("name"),
           nb::arg("array").noconvert().none())
      .def("carry", &Session::carry, nb::arg("input"), nb::arg("output"), nb::arg("shape").none())
      .def("reset", &Session::reset)
      .def("step", &Session::step)
      .def("run", &Session::run, nb::arg("outputs"), nb::arg("feeds"))
      .def("output", &Session::output, nb::arg("name"))
      .def("view", &Session::view, nb::arg("name"))
      .def("profile", &Session::profile)
      .def("weight_bytes", &Session::weight_bytes)
      .def("value_bytes", &Session::value_bytes);
}

}  // namespace espalier::python
