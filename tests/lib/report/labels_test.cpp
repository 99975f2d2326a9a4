#include "lib/report/labels.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <set>

#include "lib/report/paper.h"

using namespace espalier;

namespace {

using Labels = std::vector<std::string>;

void check_fit(const Labels& labels, size_t width) {
  CAPTURE(width);
  const Labels fitting = fitting_labels(labels, width);
  REQUIRE(fitting.size() == labels.size());
  CHECK(std::set<std::string>(fitting.begin(), fitting.end()).size() == labels.size());
  for (const std::string& label : fitting) CHECK(display_width(label) <= width);
}

}  // namespace

TEST_CASE("labels that fit stay as they are") {
  const Labels labels{"encoder.a", "encoder.b"};
  CHECK(fitting_labels(labels, 9) == labels);
}

TEST_CASE("what all labels begin with gives way first, whole parts of it") {
  const Labels labels{"encoder.layers.0.self.weight", "encoder.layers.1.self.weight",
                      "encoder.layers.1.norm.weight"};
  CHECK(fitting_labels(labels, 14) == Labels{"…0.self.weight", "…1.self.weight", "…1.norm.weight"});
}

TEST_CASE("labels stay distinct and fit, however narrow the column") {
  Labels layers;
  for (int i = 0; i < 12; ++i) {
    for (const char* part : {"query", "key", "value"})
      layers.push_back(
          fmt::format("model/encoder/layer_{}/attention/self/{}/MatMul/weight", i, part));
  }
  Labels numbered, wide;
  for (int i = 0; i < 200; ++i) {
    numbered.push_back(fmt::format("{}{:03}{}", std::string(40, 'a'), i, std::string(40, 'b')));
    wide.push_back(fmt::format("模型模型模型模型模型.权重{}.模型模型模型模型模型", i));
  }
  for (const size_t width : {8, 10, 16, 24, 33, 60}) {
    check_fit(layers, width);
    check_fit(numbered, width);
    check_fit(wide, width);
    check_fit({"only_one_label_that_is_much_too_long_for_any_of_these_columns_here"}, width);
  }
}
