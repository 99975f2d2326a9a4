#include "lib/sparse/decode_lines.h"

#include <doctest/doctest.h>

#include <cstring>

#include "lib/sparse/pack.h"

namespace espalier {
namespace {

Tensor weight(DType dtype, const Fold& fold) {
  std::vector<float> values(fold.count());
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 97 + 1);
  return from_f32(values, dtype,
                  {static_cast<int64_t>(fold.parts * fold.rows), static_cast<int64_t>(fold.cols)});
}

BlockMask every_third(BlockShape block, const Fold& fold) {
  BlockMask mask(block, fold, false);
  for (size_t i = 0; i < mask.blocks(); i += 3) mask.kept[i] = true;
  return mask;
}

TEST_CASE("lines decoded some at a time are those of the whole weight") {
  for (const DType dtype : {DType::kF32, DType::kF16}) {
    for (const bool transposed : {false, true}) {
      for (const bool diagonal : {false, true}) {
        for (const BlockShape block :
             {BlockShape{1, 1}, BlockShape{16, 1}, BlockShape{1, 4}, BlockShape{5, 3}}) {
          CAPTURE(transposed);
          CAPTURE(diagonal);
          CAPTURE(to_string(block));
          Fold fold{2, 33, 33};
          fold.transposed = transposed;
          const SparseMatrix m =
              pack_blocks(weight(dtype, fold), fold, every_third(block, fold), diagonal);
          const Tensor whole = decode(m);
          const size_t lines = lines_of_part(fold), line = whole.byte_size() / (2 * lines);
          for (size_t part = 0; part < fold.parts; ++part) {
            for (size_t first = 0; first < lines; first += 2 * lines_together(m)) {
              const size_t last = std::min(first + 2 * lines_together(m), lines);
              std::vector<std::byte> some((last - first) * line, std::byte{0xFF});
              decode_lines(m, part, first, last, some.data());
              const std::byte* all = whole.bytes().data() + (part * lines + first) * line;
              CHECK(std::memcmp(some.data(), all, some.size()) == 0);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace espalier
