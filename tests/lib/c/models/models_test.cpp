// The models' C interface: files and memory, bindings, carried and kept states, wrong arguments.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "formats/format.h"
#include "lib/c/models/espalier.h"
#include "lib/prune/choose/make_plan.h"
#include "lib/prune/pack/pack_weights.h"
#include "tests/lib/runtime/graph_maker.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

const std::string kBandgru = ESPALIER_SOURCE_DIR "/testdata/bandgru/trained_16x1_90.onnx";

struct Opened {
  espalier_model* model = nullptr;
  explicit Opened(const std::string& path) {
    INFO(path);
    const espalier_status status = espalier_model_open(path.c_str(), &model);
    INFO(espalier_last_error());
    REQUIRE(status == ESPALIER_OK);
  }
  ~Opened() { espalier_model_destroy(model); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
};

struct Session {
  espalier_session* session = nullptr;
  explicit Session(const espalier_model* model, uint32_t flags = 0, size_t threads = 1,
                   espalier_pool* pool = nullptr) {
    espalier_session_desc desc{};
    desc.size = sizeof desc;
    desc.threads = threads, desc.flags = flags, desc.pool = pool;
    const espalier_status status = espalier_session_create(model, &desc, &session);
    INFO(espalier_last_error());
    REQUIRE(status == ESPALIER_OK);
  }
  ~Session() { espalier_session_destroy(session); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  operator espalier_session*() const { return session; }
};

std::vector<float> frames(size_t count) {
  std::vector<float> x(count * 32);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(0.37F * static_cast<float>(i % 101));
  return x;
}

std::vector<float> gains(espalier_session* session, const std::vector<float>& x) {
  const std::array<int64_t, 3> extents{1, static_cast<int64_t>(x.size() / 32), 32};
  std::vector<float> y(x.size());
  REQUIRE(espalier_session_bind_input(session, "bands", 3, extents.data(), x.data(),
                                      x.size() * sizeof(float)) == ESPALIER_OK);
  REQUIRE(espalier_session_bind_output(session, "gains", y.data(), y.size() * sizeof(float)) ==
          ESPALIER_OK);
  REQUIRE(espalier_session_run(session) == ESPALIER_OK);
  REQUIRE(espalier_session_bind_output(session, "gains", nullptr, 0) == ESPALIER_OK);
  return y;
}

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::fabs(a[i] - b[i]));
  return largest;
}

TEST_CASE("a packed file is the dense one's equal, as ONNX, tgz or folder, from disk or memory") {
  const TemporaryFolder folder;
  ThreadPool pool(1);
  const Model packed = pack_existing(read_model(kBandgru), BlockShape{16, 1}, pool);
  const std::vector<float> x = frames(9);
  const Opened dense(kBandgru);
  const std::vector<float> expected = gains(Session(dense.model), x);
  for (const char* name : {"packed.onnx", "packed.nnef.tgz", "packed.nnef.tar", "packed.nnef"}) {
    CAPTURE(name);
    const std::string path = folder.path() / name;
    write_model(packed, path);
    const Opened opened(path);
    espalier_value_info input{}, output{};
    input.size = output.size = sizeof input;
    REQUIRE(espalier_model_input(opened.model, 0, &input) == ESPALIER_OK);
    REQUIRE(espalier_model_output(opened.model, 0, &output) == ESPALIER_OK);
    CHECK(std::string(input.name) == "bands");
    CHECK(input.type == ESPALIER_F32);
    CHECK(input.rank == 3);
    CHECK(input.extents[2] == 32);
    CHECK(input.extents[1] == -1);
    const Session session(opened.model, ESPALIER_ALWAYS_PACKED);
    CHECK(largest_difference(gains(session, x), expected) < 1e-5F);
    CHECK(espalier_session_weight_bytes(session) < 600000);
    if (std::filesystem::is_directory(path)) continue;
    const std::vector<char> bytes = bytes_of(path);
    espalier_model* model = nullptr;
    REQUIRE(espalier_model_open_memory(bytes.data(), bytes.size(), &model) == ESPALIER_OK);
    const Session from_memory(model, ESPALIER_ALWAYS_PACKED);
    espalier_model_destroy(model);  // the session goes on
    CHECK(gains(from_memory, x) == gains(session, x));
  }
}

TEST_CASE("pieces of a stream are the whole, until it is reset") {
  const Opened opened(kBandgru);
  const std::vector<float> x = frames(7);
  const std::vector<float> expected = gains(Session(opened.model), x);
  const Session session(opened.model, ESPALIER_KEEP_STATE);
  for (int round = 0; round < 2; ++round) {
    std::vector<float> y;
    for (const auto& [first, count] : {std::pair{0, 3}, {3, 1}, {4, 3}}) {
      const std::vector<float> piece(x.begin() + first * 32, x.begin() + (first + count) * 32);
      const std::vector<float> part = gains(session, piece);
      y.insert(y.end(), part.begin(), part.end());
    }
    CHECK(largest_difference(y, expected) < 1e-6F);
    CHECK(espalier_session_reset(session) == ESPALIER_OK);
  }
  // Without the flag each run begins anew.
  const Session other(opened.model);
  const std::vector<float> first(x.begin(), x.begin() + 32);
  CHECK(gains(other, first) == gains(other, first));
}

// y = a + x, next_a = y; next_b = a: two states of which one is handed on as it is.
std::string two_states(const TemporaryFolder& folder) {
  Maker maker;
  for (const char* name : {"x", "a", "b"}) maker.input(name, DType::kF32, Shape{1, 2});
  maker.node("Add", {"a", "x"}, {"next_a"});
  maker.node("Identity", {"a"}, {"next_b"});
  maker.node("Identity", {"b"}, {"seen"}).name = "last";
  for (const char* name : {"next_a", "next_b", "seen"}) {
    maker.graph.values[maker.value(name)].dtype = DType::kF32;
    maker.graph.values[maker.value(name)].shape = Shape{1, 2};
    maker.output(name);
  }
  const std::string path = folder.path() / "states.onnx";
  write_model(maker.model(), path);
  return path;
}

TEST_CASE("carried states see each other's values of the run before") {
  const TemporaryFolder folder;
  const Opened opened(two_states(folder));
  const Session session(opened.model);
  REQUIRE(espalier_session_carry(session, "a", "next_a") == ESPALIER_OK);
  REQUIRE(espalier_session_carry(session, "b", "next_b") == ESPALIER_OK);
  void* x = nullptr;
  REQUIRE(espalier_session_input(session, "x", 0, nullptr, &x) == ESPALIER_OK);
  const auto run = [&](float value) {
    static_cast<float*>(x)[0] = static_cast<float*>(x)[1] = value;
    REQUIRE(espalier_session_run(session) == ESPALIER_OK);
    espalier_tensor seen{};
    seen.size = sizeof seen;
    REQUIRE(espalier_session_output(session, "seen", &seen) == ESPALIER_OK);
    return static_cast<const float*>(seen.data)[1];
  };
  // a: 0 1 3 6; b is a of the run before: 0 0 1 3.
  CHECK(run(1) == 0);
  CHECK(run(2) == 0);
  CHECK(run(3) == 1);
  CHECK(run(4) == 3);
  CHECK(espalier_session_reset(session) == ESPALIER_OK);
  CHECK(run(5) == 0);
  CHECK(run(6) == 0);
  CHECK(run(7) == 5);
}

TEST_CASE("what a session is not given, or given wrongly, is named") {
  const Opened opened(kBandgru);
  const Session session(opened.model);
  const auto says = [](espalier_status status, espalier_status expected, const char* text) {
    CHECK(status == expected);
    CAPTURE(espalier_last_error());
    CHECK(std::string(espalier_last_error()).find(text) != std::string::npos);
  };
  constexpr espalier_status kUsage = ESPALIER_ERROR_USAGE;
  const std::vector<float> x = frames(1);
  const std::array<int64_t, 3> good{1, 1, 32}, wrong{1, 1, 31}, negative{1, -1, 32};
  const auto bind = [&](const char* name, size_t rank, const int64_t* extents, const void* data,
                        size_t bytes) {
    return espalier_session_bind_input(session, name, rank, extents, data, bytes);
  };
  says(espalier_session_run(session), kUsage, "input bands: it is missing");
  says(bind("none", 3, good.data(), x.data(), 128), kUsage, "no such input");
  says(bind("bands", 3, wrong.data(), x.data(), 124), kUsage, "shape is [1, 1, 31]");
  says(bind("bands", 3, negative.data(), x.data(), 128), kUsage, "extent 1 is -1");
  says(bind("bands", 99, good.data(), x.data(), 128), kUsage, "rank is 99");
  says(bind("bands", 3, good.data(), x.data(), 64), kUsage, "64 bytes, expected 128");
  says(bind("bands", 3, good.data(), nullptr, 128), kUsage, "0 bytes, expected 128");
  says(bind("bands", 3, good.data(), reinterpret_cast<const char*>(x.data()) + 1, 128), kUsage,
       "multiple of 4");
  says(bind(nullptr, 3, good.data(), x.data(), 128), kUsage, "name is null");
  says(bind("bands", 0, nullptr, x.data(), 128), kUsage, "extents are expected");
  says(espalier_session_bind_output(session, "bands", nullptr, 0), kUsage, "no such output");
  says(espalier_session_carry(session, "bands", "none"), kUsage, "no such output");
  float little = 0;
  REQUIRE(bind("bands", 3, good.data(), x.data(), 128) == ESPALIER_OK);
  REQUIRE(espalier_session_bind_output(session, "gains", &little, 4) == ESPALIER_OK);
  says(espalier_session_run(session), kUsage, "output gains has 128 bytes, 4 are bound");
  CHECK(little == 0);
  espalier_model* model = nullptr;
  says(espalier_model_open(nullptr, &model), kUsage, "path is null");
  says(espalier_model_open_memory("PK\x03\x04....", 8, &model), ESPALIER_ERROR_FORMAT, "zip");
  says(espalier_model_open_memory(nullptr, 0, &model), ESPALIER_ERROR_FORMAT, "empty");
  std::vector<char> cut = bytes_of(kBandgru);
  cut.resize(cut.size() / 2);
  CHECK(espalier_model_open_memory(cut.data(), cut.size(), &model) == ESPALIER_ERROR_FORMAT);
  CHECK(model == nullptr);
  espalier_session_desc desc{};
  espalier_session* none = nullptr;
  says(espalier_session_create(opened.model, &desc, &none), kUsage, "set it to sizeof");
  desc.size = sizeof desc, desc.flags = 1024;
  says(espalier_session_create(opened.model, &desc, &none), kUsage, "flags");
  espalier_value_info info{};
  info.size = sizeof info;
  says(espalier_model_input(opened.model, 1, &info), kUsage, "index is 1, the model has 1");
  espalier_session_destroy(nullptr);
  espalier_model_destroy(nullptr);
}

TEST_CASE("sessions of one model run on several threads at a time") {
  const Opened opened(kBandgru);
  const std::vector<float> x = frames(20);
  const std::vector<float> expected = gains(Session(opened.model), x);
  std::array<std::vector<float>, 4> results;
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&] {
      const Session session(opened.model, 0, 2);
      for (int i = 0; i < 5; ++i) result = gains(session, x);
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) CHECK(result == expected);
}

}  // namespace
}  // namespace espalier
