#include "apps/espalier/bench_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <map>
#include <random>

#include "lib/base/log.h"
#include "lib/kernels/dense/dense.h"
#include "lib/kernels/int8/dot_instructions.h"
#include "lib/kernels/machine_limits.h"
#include "lib/kernels/scratch.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/pack.h"

namespace espalier {
namespace {

template <typename T>
T number(const char* option, const std::string& text, T least, T most) {
  T value{};
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size() || !(value >= least) ||
      !(value <= most)) {
    throw Error(Fault::kUsage, fmt::format("{} {}: expected a number from {} to {}", option,
                                           printable(text), least, most));
  }
  return value;
}

struct Size {
  size_t m, k;
};

Size parse_size(const std::string& text) {
  const size_t place = text.find('x');
  if (place == std::string::npos)
    throw Error(Fault::kUsage, fmt::format("--shape {}: expected MxK", printable(text)));
  constexpr size_t kMost = 32768;
  return {number<size_t>("--shape", text.substr(0, place), 1, kMost),
          number<size_t>("--shape", text.substr(place + 1), 1, kMost)};
}

std::vector<float> random_values(size_t count, std::mt19937_64& generator) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

// Exactly the rounded share of blocks is kept, at random places.
SparseMatrix random_weight(const std::vector<float>& dense, Size size, BlockShape block,
                           double sparsity, std::mt19937_64& generator) {
  const Fold fold{.parts = 1, .rows = size.m, .cols = size.k};
  BlockMask mask(block, fold, false);
  const auto keep = static_cast<size_t>((1 - sparsity) * static_cast<double>(mask.blocks()) + 0.5);
  std::fill_n(mask.kept.begin(), keep, true);
  std::shuffle(mask.kept.begin(), mask.kept.end(), generator);
  const Shape shape{static_cast<int64_t>(size.m), static_cast<int64_t>(size.k)};
  return pack_blocks(Tensor::of<float>(shape, dense), fold, mask, false);
}

std::vector<BlockShape> blocks_of(const KernelBenchOptions& options) {
  std::vector<BlockShape> result;
  for (const std::string& text : options.blocks) result.push_back(parse_block_shape(text));
  if (!result.empty()) return result;
  for (const SparseKernel* kernel : sparse_kernels()) {
    if (kernel->block.rows != 0) result.push_back(kernel->block);
  }
  return result;
}

std::vector<std::string> or_default(const std::vector<std::string>& list,
                                    std::vector<std::string> fallback) {
  return list.empty() ? std::move(fallback) : list;
}

DType value_type(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    if (name == name_of(dtype)) return dtype;
  }
  throw Error(Fault::kUsage,
              fmt::format("--values {}: expected f32, f16, bf16 or i8", printable(name)));
}

void check_values(const KernelBenchOptions& options) {
  for (const std::string& type : options.values) value_type(type);
}

struct Case {
  Size size;
  size_t n;
  BlockShape block;
  double sparsity;
  DType values;
};

std::vector<Case> cases_of(const KernelBenchOptions& options) {
  std::vector<Case> cases;
  for (const std::string& shape : or_default(options.shapes, {"768x768"})) {
    for (const std::string& n : or_default(options.samples, {"1", "64"})) {
      for (const BlockShape block : blocks_of(options)) {
        for (const std::string& s : or_default(options.sparsities, {"0.5", "0.8", "0.9"})) {
          for (const std::string& type : or_default(options.values, {"f32"})) {
            cases.push_back({parse_size(shape), number<size_t>("--n", n, 1, 1 << 20), block,
                             number("--sparsity", s, 0.0, 1.0), value_type(type)});
          }
        }
      }
    }
  }
  return cases;
}

// Read bandwidth of the level that holds so many bytes: measured once per power of two.
class ReadLimits {
 public:
  double gbytes(size_t bytes) {
    const size_t level = std::bit_width(bytes);
    const auto [found, is_new] = known_.try_emplace(level, 0.0);
    if (is_new) found->second = read_gbytes(bytes);
    return found->second;
  }

 private:
  std::map<size_t, double> known_;
};

struct Peaks {
  double f32, int8;
};

// Times the block product and the dense product of one case, interleaved, and compares the block
// product with the limits of the machine.
KernelResult measure(const Case& c, double seconds, const Peaks& peaks, ReadLimits& reads,
                     ThreadPool& pool, uint64_t seed) {
  std::mt19937_64 generator(seed);
  const std::vector<float> dense_weight = random_values(c.size.m * c.size.k, generator);
  const SparseMatrix weight =
      with_values(random_weight(dense_weight, c.size, c.block, c.sparsity, generator), c.values);
  const auto sparse = prepare_sparse(weight);
  const auto dense = prepare_dense(dense_weight.data(), c.size.m, c.size.k);
  Scratch x_memory, y_memory;  // begin at lines, as tensors of the runtime do
  float* const x = x_memory.floats(c.size.k * c.n);
  float* const y = y_memory.floats(c.size.m * c.n);
  std::ranges::copy(random_values(c.size.k * c.n, generator), x);
  const auto body = [&](const Product& product, Features features) {
    return [&, features] { product.run(x, features, c.n, nullptr, y, pool); };
  };
  // Of the dense product the quicker layout counts; the kernel takes X as it is defined, [k, n].
  const std::array<std::function<void()>, 3> bodies{body(*dense, Features::kOuter),
                                                    body(*dense, Features::kInner),
                                                    body(*sparse, Features::kOuter)};
  const std::vector<Timing> times =
      time_interleaved(bodies, {.warmup = seconds / 10, .seconds = seconds / 3});
  const double dense_ms = std::min(times[0].median_ms, times[1].median_ms);
  const double sparse_ms = times[2].median_ms;
  const double operations = 2.0 * static_cast<double>(c.size.m * c.size.k * c.n) * (1 - c.sparsity);
  const bool dots = sparse->kernel() == "int8";
  const double compute_ms = operations / ((dots ? peaks.int8 : peaks.f32) * 1e6);
  const double read_ms =
      static_cast<double>(sparse->bytes()) / (reads.gbytes(sparse->bytes()) * 1e6);
  return {.kernel = std::string(sparse->kernel()),
          .block = to_string(c.block),
          .dtype = std::string(name_of(c.values)),
          .m = c.size.m,
          .k = c.size.k,
          .n = c.n,
          .sparsity = c.sparsity,
          .threads = pool.threads(),
          .gflops_nonzero = operations / (sparse_ms * 1e6),
          .speedup_vs_dense = dense_ms / sparse_ms,
          .share_of_limit = std::max(compute_ms, read_ms) / sparse_ms,
          .limit = compute_ms < read_ms ? "read"
                   : dots               ? "dot"
                                        : "fma"};
}

}  // namespace

KernelResults bench_kernels(const KernelBenchOptions& options, double seconds,
                            const CommonOptions& common) {
  check_values(options);
  const std::vector<Case> cases = cases_of(options);
  ThreadPool pool(common.threads);
  const double peak = peak_gflops() * static_cast<double>(pool.threads());
  const bool any_i8 = std::ranges::find(options.values, "i8") != options.values.end();
  const Peaks peaks{peak, any_i8 ? peak_int8_gops() * static_cast<double>(pool.threads()) : 0};
  ReadLimits reads;
  KernelResults results{this_machine(common.threads), peak, {}};
  Progress progress("kernels", cases.size());
  for (const Case& c : cases) {
    results.kernels.push_back(measure(c, seconds, peaks, reads, pool, common.seed));
    progress.step();
  }
  return results;
}

}  // namespace espalier
