#pragma once

#include <string>
#include <string_view>

namespace espalier {

/// The word of `name` that says it is a fixed transform and no learned weight: an STFT, DFT or DCT
/// basis, mel filters, a window, a positional table. Empty where there is none.
/// Words are runs of letters, also cut at camelCase humps; case does not count. Three kinds:
///   always        stft, dft, dct, hann, hamming, filterbank, sinusoid, ...: not where a network
///                 of its own follows (stft_encoder.conv), but stft.conv_real.weight
///   on their own  mel, fft, window, basis, ...: not where a learned layer's word follows
///                 (mel_linear.weight, fft_block.conv, window_attention.qkv) or "to_" precedes
///   in pairs      position embedding, pos_enc, inv_freq, ..., under the same condition
/// Source  docs/algorithms/magnitude.md, "What is left out".
std::string fixed_transform_word(std::string_view name);

}  // namespace espalier
