#include <doctest/doctest.h>
#include <fmt/format.h>

#include "apps/espalier/mask_pictures.h"
#include "apps/espalier/sweep_grid.h"
#include "apps/espalier/sweep_results.h"

namespace espalier {
namespace {

SweepPoint point(double metric, double ms, uint64_t bytes) {
  SweepPoint p;
  p.metric = metric;
  p.median_ms = ms;
  p.bytes = bytes;
  return p;
}

SweepResults sweep(const std::string& metric, double dense, std::vector<SweepPoint> points) {
  SweepResults result;
  result.metric = metric;
  result.dense.metric = dense;
  result.points = std::move(points);
  return result;
}

}  // namespace

TEST_CASE("shards are parts of the grid that leave nothing out and share nothing") {
  for (const size_t count : {0, 1, 7, 60}) {
    for (const size_t of : {1, 3, 8}) {
      CAPTURE(count);
      CAPTURE(of);
      size_t next = 0;
      for (size_t i = 1; i <= of; ++i) {
        const auto [first, last] = shard_of(fmt::format("{}/{}", i, of), count);
        CHECK(first == next);
        CHECK(last >= first);
        next = last;
      }
      CHECK(next == count);
    }
  }
  for (const char* text : {"0/3", "4/3", "1", "1/", "/3", "1/3x", "-1/3", "1/0", "a/b"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(shard_of(text, 10), Error);
  }
}

TEST_CASE("pick takes the smallest or the fastest point that keeps the metric") {
  const SweepResults found =
      sweep("top1", 0.9,
            {point(0.9, 3, 300), point(0.895, 1, 200), point(0.892, 2, 100), point(0.8, 0.5, 50)});
  CHECK(pick_point(found, "max-drop 1%", "size") == 2);
  CHECK(pick_point(found, "max-drop 1%", "speed") == 1);
  CHECK(pick_point(found, "max-drop=0.2", "size") == 3);
  CHECK_THROWS_AS(pick_point(sweep("top1", 0.9, {point(0.1, 1, 1)}), "max-drop 1%", "size"), Error);
  CHECK_THROWS_AS(pick_point(sweep("", 0, {point(0.9, 1, 1)}), "max-drop 1%", "size"), Error);
  // Of mse less is better; a NaN keeps nothing.
  CHECK(pick_point(sweep("mse", 1, {point(NAN, 1, 1), point(1.5, 1, 9), point(1.05, 1, 10)}),
                   "max-drop 10%", "size") == 2);
  for (const char* text : {"size 3", "max-drop", "max-drop ", "max-drop x", "max-dropx 3"})
    CHECK_THROWS_AS(check_pick(text, "size"), Error);
  CHECK_THROWS_AS(check_pick("", "beauty"), Error);
}

TEST_CASE("the picture of a mask has its blocks, or shares of them where they are too many") {
  PrunePlan plan;
  LayerPlan& layer = plan.layers.emplace_back();
  Fold fold;
  fold.parts = 2, fold.rows = 5, fold.cols = 3;
  layer.layer.weight = "w";
  layer.mask = BlockMask(BlockShape{2, 1}, fold, false);
  layer.mask.kept[layer.mask.index(0, 0, 1)] = true;
  layer.mask.kept[layer.mask.index(1, 2, 2)] = true;
  const MaskPicture small = mask_pictures(plan).front();
  CHECK(small.rows == 6);  // the last block of each part sticks out
  CHECK(small.cols == 3);
  CHECK(small.parts == 2);
  CHECK(small.cells ==
        "0f0000000"
        "00000000f");
  CHECK(small.cell_rows == 2);

  fold.parts = 1, fold.rows = 1024, fold.cols = 1024;
  layer.mask = BlockMask(BlockShape{1, 1}, fold, false);
  for (size_t i = 0; i < 1024; ++i) layer.mask.kept[layer.mask.index(0, i, i)] = true;
  const MaskPicture large = mask_pictures(plan).front();
  CHECK(large.rows * large.cols <= 65536);
  CHECK(large.cells.size() == large.rows * large.cols);
  CHECK(large.cells[0] != '0');
  CHECK(large.cells[0] != 'f');
  CHECK(large.cells[1] == '0');
  CHECK(large.about.find("a cell is 4 x 4 blocks") != std::string::npos);
}

}  // namespace espalier
