#include "lib/calibrate/statistics_file.h"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

InputMoments moments(size_t first_part, const std::vector<double>& mean) {
  const auto side = static_cast<int64_t>(mean.size());
  std::vector<double> second(mean.size() * mean.size());
  for (size_t i = 0; i < second.size(); ++i) second[i] = 0.1 * static_cast<double>(i);
  return {first_part, 2, 17 + first_part, Tensor::of<double>({side, side}, second),
          Tensor::of<double>({side}, mean)};
}

Statistics some() {
  return {{{"a/b\n\xff", 0x0123456789ABCDEF, {moments(0, {1, 2, 3}), moments(2, {-1, 0, 1e-300})}},
           {"w", 7, {moments(0, {5})}}}};
}

std::string bytes_of_file(const std::filesystem::path& path) {
  return std::string(as_text(MappedFile::open(path)->bytes()));
}

}  // namespace

TEST_CASE("what was written is read back, whatever the names hold") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "s";
  write_statistics(path, some());
  CHECK(is_statistics_file(path));
  CHECK_FALSE(is_statistics_file(folder.path()));
  const Statistics back = read_statistics(path), wanted = some();
  REQUIRE(back.layers.size() == 2);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(back.layers[i].weight == wanted.layers[i].weight);
    CHECK(back.layers[i].fingerprint == wanted.layers[i].fingerprint);
    REQUIRE(back.layers[i].inputs.size() == wanted.layers[i].inputs.size());
    for (size_t j = 0; j < wanted.layers[i].inputs.size(); ++j) {
      const InputMoments &a = back.layers[i].inputs[j], &b = wanted.layers[i].inputs[j];
      CHECK(a.first_part == b.first_part);
      CHECK(a.parts == b.parts);
      CHECK(a.samples == b.samples);
      CHECK(same_bits(a.second, b.second));
      CHECK(same_bits(a.mean, b.mean));
    }
  }
}

TEST_CASE("a file that is cut, longer or changed anywhere is refused") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "s", bad = folder.path() / "bad";
  write_statistics(path, some());
  const std::string good = bytes_of_file(path);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string changed = good;
    changed[i] = static_cast<char>(changed[i] ^ 0x11);
    write_file(bad, as_bytes(changed));
    CAPTURE(i);
    CHECK_THROWS_AS(read_statistics(bad), Error);
  }
  for (const size_t length : {size_t{0}, size_t{7}, size_t{50}, good.size() - 1}) {
    write_file(bad, as_bytes(good.substr(0, length)));
    CHECK_THROWS_AS(read_statistics(bad), Error);
  }
  write_file(bad, as_bytes(good + "x"));
  CHECK_THROWS_AS(read_statistics(bad), Error);
}

TEST_CASE("infinite moments are refused") {
  const TemporaryFolder folder;
  Statistics statistics = some();
  statistics.layers[1].inputs[0].mean = Tensor::of<double>({1}, std::vector<double>{INFINITY});
  write_statistics(folder.path() / "s", statistics);
  CHECK_THROWS_AS(read_statistics(folder.path() / "s"), Error);
}

TEST_CASE("merging weighs by samples, keeps what one side lacks, refuses what does not fit") {
  Statistics a = some(), b = some();
  b.layers[0].inputs.pop_back();
  b.layers[0].inputs[0].mean = Tensor::of<double>({3}, std::vector<double>{4, 5, 6});
  b.layers[0].inputs[0].samples = 51;
  b.layers[1].weight = "other";
  const Statistics both = merged(a, b);
  REQUIRE(both.layers.size() == 3);
  CHECK(both.layers[0].inputs[0].samples == 68);
  CHECK(both.layers[0].inputs[0].mean.data<double>()[0] == doctest::Approx(0.25 * 1 + 0.75 * 4));
  CHECK(both.layers[0].inputs[1].samples == 19);
  b.layers[0].fingerprint = 1;
  CHECK_THROWS_AS(merged(a, b), Error);
  b = some();
  b.layers[1].inputs[0] = moments(0, {1, 2});
  CHECK_THROWS_AS(merged(a, b), Error);
}

namespace {

KeptInputs three_feeds() {
  KeptInputs inputs;
  for (int64_t i = 0; i < 3; ++i) {
    inputs.feeds.push_back({{"ids\n", Tensor::of<int64_t>({1, 2}, std::vector<int64_t>{i, 7})},
                            {"x", Tensor::of<float>({2}, std::vector<float>{0.5F, 1.0F})}});
  }
  inputs.of = 5;
  inputs.states = {{"x", "y"}};
  inputs.token_mask = "ids\n";
  return inputs;
}

}  // namespace

TEST_CASE("inputs that are kept are read back as they were, and need no version 1") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "s";
  write_statistics(path, some(), three_feeds());
  const StatisticsFile back = read_statistics_file(path);
  CHECK(back.statistics.layers.size() == 2);
  CHECK(back.inputs.of == 5);
  CHECK_FALSE(back.inputs.complete());
  CHECK(back.inputs.states == three_feeds().states);
  CHECK(back.inputs.token_mask == "ids\n");
  REQUIRE(back.inputs.feeds.size() == 3);
  const KeptInputs wanted = three_feeds();
  for (size_t i = 0; i < 3; ++i) {
    for (const auto& [name, tensor] : wanted.feeds[i])
      CHECK(same_bits(back.inputs.feeds[i].at(name), tensor));
  }
  write_statistics(path, some());
  CHECK(read_statistics_file(path).inputs.of == 0);
  CHECK(bytes_of_file(path).find(R"("version":"1")") != std::string::npos);
}

TEST_CASE("of kept inputs, too, a file that is cut or changed anywhere is refused") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "s", bad = folder.path() / "bad";
  write_statistics(path, some(), three_feeds());
  const std::string whole = bytes_of_file(path);
  for (size_t i = 0; i < whole.size(); i += 3) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    write_file(bad, as_bytes(changed));
    CHECK_THROWS_AS(read_statistics_file(bad), Error);
  }
}

TEST_CASE("a budget keeps feeds of all places, of streams the first ones, and all where they fit") {
  KeptInputs all;
  for (float i = 0; i < 10; ++i)
    all.feeds.push_back({{"x", Tensor::of<float>({1}, std::vector<float>{i})}});
  all.of = 10;
  const auto first_of = [](const Feed& feed) { return feed.at("x").data<float>()[0]; };
  CHECK(kept_inputs(all, 40).complete());
  const KeptInputs some = kept_inputs(all, 22);
  REQUIRE(some.feeds.size() == 5);
  CHECK(first_of(some.feeds[1]) == 2);
  CHECK(kept_inputs(all, 3).feeds.empty());
  KeptInputs stream = all;
  stream.states = {{"x", "y"}};
  CHECK(first_of(kept_inputs(stream, 22).feeds[1]) == 1);
  const KeptInputs both = merged(all, all, 80);
  CHECK(both.complete());
  CHECK(both.feeds.size() == 20);
  CHECK(merged(stream, all, 80).feeds.empty());
  CHECK_FALSE(merged(all, all, 40).complete());
}

}  // namespace espalier
