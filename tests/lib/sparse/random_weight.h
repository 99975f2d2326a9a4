#pragma once

#include <random>

#include "lib/sparse/block_mask.h"
#include "lib/sparse/element_bits.h"

namespace espalier {

inline uint32_t bits_at(const Tensor& tensor, size_t index) {
  return with_bits_of(tensor.dtype(), [&]<typename T>(T) -> uint32_t {
    return load_bits<T>(tensor.bytes().data(), index);
  });
}

/// Blocks of random bit patterns (finite and not zero) where a coin of probability `density` says
/// so, zeros elsewhere; the same for the same arguments.
inline Tensor random_weight(DType dtype, const Fold& fold, BlockShape block, double density) {
  std::mt19937 random(fold.rows * 131 + fold.cols);
  Tensor result =
      Tensor::zeros(dtype, {static_cast<int64_t>(fold.parts), static_cast<int64_t>(fold.rows),
                            static_cast<int64_t>(fold.cols)});
  BlockMask mask(block, fold, false);
  std::bernoulli_distribution coin(density);
  for (size_t i = 0; i < mask.blocks(); ++i) mask.kept[i] = coin(random);
  for (size_t p = 0; p < fold.parts; ++p) {
    for (size_t r = 0; r < fold.rows; ++r) {
      for (size_t c = 0; c < fold.cols; ++c) {
        const size_t at = fold.offset(p, r, c);
        if (!mask.at(p, r, c)) continue;
        if (dtype == DType::kF32) {
          result.mutable_data<uint32_t>()[at] = 0x3F000000 + random() % 0x00FFFFFF;
        } else {
          result.mutable_data<uint16_t>()[at] = static_cast<uint16_t>(0x3000 + random() % 0x7FF);
        }
      }
    }
  }
  return result;
}

}  // namespace espalier
