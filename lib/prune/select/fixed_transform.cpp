#include "lib/prune/select/fixed_transform.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

namespace espalier {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::array kAlways = std::to_array<std::string_view>(
    {"stft",     "istft",    "dft",       "idft",       "rfft",          "irfft",
     "mdct",     "imdct",    "dct",       "idct",       "dwt",           "idwt",
     "cqt",      "hadamard", "twiddle",   "twiddles",   "hann",          "hanning",
     "hamming",  "blackman", "bartlett",  "kaiser",     "filterbank",    "filterbanks",
     "melscale", "melbank",  "melfilter", "melfilters", "melfilterbank", "melbasis",
     "melfb",    "melmat",   "sinusoid",  "sinusoidal", "sinusoids",     "rotary"});

// A network of its own that works on a transform's output.
constexpr std::array kNetwork =
    std::to_array<std::string_view>({"encoder", "decoder", "discriminator", "generator", "net",
                                     "network", "attention", "attn", "lstm", "gru", "mlp", "proj"});

constexpr std::array kOnTheirOwn = std::to_array<std::string_view>(
    {"mel", "mels", "logmel", "mfcc", "fbank", "fbanks", "gammatone", "spectrogram",
     "melspectrogram", "fft", "ifft", "window", "windows", "basis", "bases", "pe"});

constexpr std::array kPairFirst = std::to_array<std::string_view>(
    {"pos", "posit", "position", "positions", "positional", "inv", "filter"});
constexpr std::array kPairSecond = std::to_array<std::string_view>(
    {"emb", "embed", "embeds", "embedding", "embeddings", "enc", "encoding", "encodings", "encoder",
     "table", "tables", "ids", "freq", "freqs", "bank", "banks"});

// Words of learned layers: what follows decides whether "mel" names a filter or a network.
constexpr std::array kLearned = std::to_array<std::string_view>(
    {"linear",        "dense",      "proj",    "projection", "fc",
     "conv",          "convs",      "deconv",  "attn",       "attention",
     "query",         "key",        "value",   "qkv",        "lstm",
     "gru",           "rnn",        "encoder", "decoder",    "layer",
     "layers",        "block",      "blocks",  "mlp",        "ffn",
     "feedforward",   "norm",       "head",    "gate",       "prenet",
     "postnet",       "predictor",  "net",     "model",      "stack",
     "upsample",      "downsample", "gemm",    "out",        "in",
     "discriminator", "generator",  "network"});

template <size_t N>
bool has(const std::array<std::string_view, N>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_letter(char c) { return is_upper(c) || is_lower(c); }

// "conv1dMelBasis" -> conv, d, mel, basis; "melW" -> mel, w; "STFTConv" -> stft, conv.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words;
  bool open = false;
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (!is_letter(c)) {
      open = false;
      continue;
    }
    const bool hump = i > 0 && is_upper(c) &&
                      (is_lower(name[i - 1]) || (i + 1 < name.size() && is_lower(name[i + 1])));
    if (!open || hump) words.emplace_back();
    open = true;
    words.back() += is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return words;
}

template <size_t N>
bool any_after(Words words, size_t index, const std::array<std::string_view, N>& of) {
  return std::any_of(words.begin() + static_cast<ptrdiff_t>(index) + 1, words.end(),
                     [&](std::string_view word) { return has(of, word); });
}

// "position embedding", but neither "position ids proj" nor "pos conv embed".
bool is_pair(std::string_view first, std::string_view second) {
  if (!has(kPairFirst, first) || !has(kPairSecond, second)) return false;
  const bool frequency = second == "freq" || second == "freqs";
  const bool bank = second == "bank" || second == "banks";
  return frequency == (first == "inv") && bank == (first == "filter");
}

}  // namespace

std::string fixed_transform_word(std::string_view name) {
  const std::vector<std::string> storage = words_of(name);
  const std::vector<std::string_view> words(storage.begin(), storage.end());
  for (size_t i = 0; i < words.size(); ++i) {
    if (has(kAlways, words[i]) && !any_after(words, i, kNetwork)) return storage[i];
    if (i + 1 < words.size() && is_pair(words[i], words[i + 1]) &&
        !any_after(words, i + 1, kLearned))
      return storage[i] + " " + storage[i + 1];
    const bool output_of_network = i > 0 && words[i - 1] == "to";
    if (has(kOnTheirOwn, words[i]) && !output_of_network && !any_after(words, i, kLearned))
      return storage[i];
  }
  return {};
}

}  // namespace espalier
