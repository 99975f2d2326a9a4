#pragma once

#include <cstdint>
#include <span>

namespace espalier {

/// An activation of GRU, LSTM and RNN, with its alpha and beta.
struct Activation {
  enum class Kind : uint8_t {
    kSigmoid,
    kTanh,
    kRelu,
    kAffine,
    kLeakyRelu,
    kThresholdedRelu,
    kScaledTanh,
    kHardSigmoid,
    kElu,
    kSoftsign,
    kSoftplus
  };
  Kind kind = Kind::kSigmoid;
  float alpha = 0, beta = 0;

  void apply(std::span<float> values) const;  ///< in place
};

}  // namespace espalier
