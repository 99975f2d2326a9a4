#include "lib/verify/data.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/lib/verify/small_model.h"

namespace espalier {
namespace {

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

DataSet with_array(const std::string& name, Tensor array) {
  DataSet data;
  data.arrays.emplace(name, std::move(array));
  return data;
}

TEST_CASE("an array of the input's rank is cut into batches, the last one shorter") {
  DataSet data = with_array("x", counted({5, 3}));
  CHECK(make_feeds(matmul_model(), data).size() == 5);
  data.batch = 2;
  const std::vector<Feed> feeds = make_feeds(matmul_model(), data);
  REQUIRE(feeds.size() == 3);
  CHECK(feeds[1].at("x").shape() == Shape{2, 3});
  CHECK(values_of(feeds[1].at("x")) == std::vector<float>{6, 7, 8, 9, 10, 11});
  CHECK(feeds[2].at("x").shape() == Shape{1, 3});
  CHECK_FALSE(stacks_samples(matmul_model(), data));
}

TEST_CASE("an array with one axis more gives one feed per sample") {
  const DataSet data = with_array("x", counted({2, 4, 3}));
  const std::vector<Feed> feeds = make_feeds(matmul_model(), data);
  REQUIRE(feeds.size() == 2);
  CHECK(feeds[1].at("x").shape() == Shape{4, 3});
  CHECK(values_of(feeds[1].at("x"))[0] == 12);
  CHECK(stacks_samples(matmul_model(), data));
}

TEST_CASE("what does not fit is an error that names the input") {
  const Model model = matmul_model();
  CHECK(error_of([&] { make_feeds(model, {}); }).find("input 'x' is not given by") == 0);
  const auto wrong = [&](Tensor array) {
    return error_of([&] { make_feeds(model, with_array("x", std::move(array))); });
  };
  CHECK(wrong(counted({5, 4})).find("axis 1 of a sample is 4, expected 3") != std::string::npos);
  CHECK(wrong(counted({3})).find("its rank is 1, expected 2 or 3") != std::string::npos);
  CHECK(wrong(counted({0, 3})).find("contains no samples") != std::string::npos);
  CHECK(wrong(Tensor::zeros(DType::kF16, {5, 3})).find("f16, the model expects f32") !=
        std::string::npos);
  CHECK(error_of([&] {
          DataSet data = with_array("x", counted({5, 3}));
          data.arrays.emplace("z", counted({5, 3}));
          make_feeds(model, data);
        }).find("array 'z' does not belong to an input") == 0);
}

TEST_CASE("an array of f64 is rounded for an input of f32") {
  std::vector<double> doubles(6, 0.1);
  doubles[1] = INFINITY;
  doubles[2] = 1e-320;
  const std::vector<Feed> feeds =
      make_feeds(matmul_model(), with_array("x", Tensor::of<double>({2, 3}, doubles)));
  REQUIRE(feeds.size() == 2);
  CHECK(feeds[0].at("x").dtype() == DType::kF32);
  CHECK(values_of(feeds[0].at("x")) == std::vector<float>{0.1F, INFINITY, 0.0F});
  CHECK(values_of(feeds[1].at("x")) == std::vector<float>(3, 0.1F));
  doubles[4] = -1e39;
  const std::string refused = error_of([&] {
    make_feeds(matmul_model(), with_array("x", Tensor::of<double>({2, 3}, doubles)));
  });
  CHECK(refused == "input 'x': element 4 of the array is -1e+39, past the range of f32");
}

TEST_CASE("arrays of different lengths are an error that names both inputs") {
  DataSet data = with_array("in", counted({3, 1, 2}));
  data.arrays.emplace("state", counted({4, 1, 2}));
  const std::string text = error_of([&] { make_feeds(running_sum_model(), data); });
  CHECK(text == "input 'in' gives 3 feeds, input 'state' gives 4");
}

TEST_CASE("a fixed batch cannot be changed and must divide the samples") {
  DataSet data = with_array("in", counted({3, 2}));
  data.fill.emplace("state", 0);
  CHECK(make_feeds(running_sum_model(), data).size() == 3);
  data.batch = 2;
  CHECK(error_of([&] { make_feeds(running_sum_model(), data); }).find("fixed at 1") !=
        std::string::npos);
}

TEST_CASE("a fill takes the input's shape and type") {
  DataSet data = with_array("in", counted({1, 2}));
  data.fill.emplace("state", 2.5);
  const Feed feed = make_feeds(running_sum_model(), data).front();
  CHECK(values_of(feed.at("state")) == std::vector<float>{2.5, 2.5});
  data.fill.emplace("nobody", 1);
  CHECK(error_of([&] { make_feeds(running_sum_model(), data); }).find("no input 'nobody'") !=
        std::string::npos);
}

TEST_CASE("a state starts at zero and carries the output of the sample before") {
  const Model model = running_sum_model();
  DataSet data = with_array("in", counted({3, 1, 2}, 1));
  data.states.emplace("state", "next");
  Executor executor(model, {});
  std::vector<std::vector<float>> outputs;
  run_feeds(executor, model, data, make_feeds(model, data),
            [&](size_t, const Feed& feed) { outputs.push_back(values_of(feed.at("out"))); });
  CHECK(outputs == std::vector<std::vector<float>>{{1, 2}, {4, 6}, {9, 12}});
}

TEST_CASE("a state from no output is an error that names it") {
  DataSet data = with_array("in", counted({1, 2}));
  data.states.emplace("state", "gone");
  CHECK(error_of([&] { make_feeds(running_sum_model(), data); }).find("no output 'gone'") !=
        std::string::npos);
}

TEST_CASE("random feeds depend on the seed and on nothing else") {
  const Model model = matmul_model();
  const Feed a = random_feed(model, 1), b = random_feed(model, 1), c = random_feed(model, 2);
  CHECK(same_bits(a.at("x"), b.at("x")));
  CHECK_FALSE(same_bits(a.at("x"), c.at("x")));
  CHECK(a.at("x").shape() == Shape{1, 3});
  CHECK(random_feed(model, 1, {}, {.first = 5, .others = 7}).at("x").shape() == Shape{5, 3});
}

TEST_CASE("outputs are joined along their first axis or stacked along a new one") {
  const std::vector<Feed> outputs{{{"y", counted({2, 3})}}, {{"y", counted({1, 3}, 6)}}};
  const Tensor joined = join_outputs(outputs, false).at("y");
  CHECK(joined.shape() == Shape{3, 3});
  CHECK(values_of(joined).back() == 8);
  const std::vector<Feed> equal{outputs[0], outputs[0]};
  CHECK(join_outputs(equal, true).at("y").shape() == Shape{2, 2, 3});
  CHECK(error_of([&] { join_outputs(outputs, true); }).find("cannot hold the shapes") !=
        std::string::npos);
}

TEST_CASE("names match by name, else by position, and never in part") {
  CHECK(match_names({"a", "b"}, {"b", "a"}, "inputs").at("a") == "a");
  CHECK(match_names({"a", "b"}, {"x", "y"}, "inputs").at("b") == "y");
  CHECK(error_of([] {
          match_names({"a"}, {"x", "y"}, "inputs");
        }) == "the models cannot be compared: 1 inputs and 2");
}

}  // namespace
}  // namespace espalier
