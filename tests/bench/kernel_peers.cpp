// Sparse kernels next to those of other libraries, in turns within one run, one thread:
// unstructured weights and 16x1 blocks, Y[m, n] = W[m, k] X[k, n], against XNNPACK's spmm (its 1x1
// convolution of [channels, pixels]) and libxsmm's spmdm. One line of JSON per case, times in
// milliseconds, the best of all calls. Each peer's result is compared with ours before it is timed.
//
//   kernel_peers [SECONDS per case and library, 0.1]
#include <fmt/format.h>
#include <libxsmm.h>
#include <xnnpack.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>

#include "lib/base/check.h"
#include "lib/kernels/scratch.h"
#include "lib/kernels/sparse_product.h"
#include "lib/sparse/pack.h"
#include "tests/bench/block_cases.h"

namespace espalier {
namespace {

struct Peer {
  std::string name;
  std::function<void()> run;
  double best = 1e30;
};

// W [m, k] dense, zeros stored; X and Y as [features, n].
class XnnpackSpmm {
 public:
  XnnpackSpmm(const std::vector<float>& w, size_t m, size_t k, size_t n, const float* x, float* y) {
    ESPALIER_CHECK(xnn_initialize(nullptr) == xnn_status_success);
    const float infinity = std::numeric_limits<float>::infinity();
    ESPALIER_CHECK(xnn_create_convolution2d_nchw_f32(0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, k, m, k, m,
                                                     w.data(), nullptr, -infinity, infinity, 0,
                                                     &op_) == xnn_status_success);
    ESPALIER_CHECK(xnn_setup_convolution2d_nchw_f32(op_, 1, 1, n, x, y, nullptr) ==
                   xnn_status_success);
  }
  void run() const { xnn_run_operator(op_, nullptr); }

 private:
  xnn_operator_t op_ = nullptr;
};

class LibxsmmSpmdm {
 public:
  LibxsmmSpmdm(const std::vector<float>& w, size_t m, size_t k, size_t n, const float* x, float* y)
      : x_(x), y_(y) {
    libxsmm_spmdm_init(static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), 1, &handle_,
                       &slices_);
    for (int i = 0; i < libxsmm_spmdm_get_num_createSparseSlice_blocks(&handle_); ++i)
      libxsmm_spmdm_createSparseSlice_fp32_thread(&handle_, 'N', w.data(), slices_, i, 0, 1);
  }
  void run() const {
    const float one = 1, zero = 0;
    for (int i = 0; i < libxsmm_spmdm_get_num_compute_blocks(&handle_); ++i)
      libxsmm_spmdm_compute_fp32_thread(&handle_, 'N', 'N', &one, slices_, x_, 'N', &zero, y_, i, 0,
                                        1);
  }

 private:
  const float* x_;
  float* y_;
  libxsmm_spmdm_handle handle_{};
  libxsmm_CSR_sparseslice* slices_ = nullptr;
};

void compare(BlockShape block, size_t m, size_t k, int zeros, size_t n, double seconds) {
  const SparseMatrix matrix = random_blocks(block, m, k, zeros);
  const Tensor decoded = decode(matrix);
  const std::vector<float> w(decoded.data<float>().begin(), decoded.data<float>().end());
  Scratch memory[3];  // begin at lines, as tensors of the runtime do
  float* const x = memory[0].floats(k * n);
  float* const ours = memory[1].floats(m * n);
  float* const theirs = memory[2].floats(m * n);
  std::ranges::copy(random_values(k * n), x);
  ThreadPool pool(1);
  const auto product = prepare_sparse(matrix);
  const XnnpackSpmm xnnpack(w, m, k, n, x, theirs);
  const LibxsmmSpmdm libxsmm(w, m, k, n, x, theirs);
  std::vector<Peer> all{
      {"espalier", [&] { product->run(x, Features::kOuter, n, nullptr, ours, pool); }},
      {"xnnpack", [&] { xnnpack.run(); }},
      {"libxsmm", [&] { libxsmm.run(); }}};
  all[0].run();
  for (size_t i = 1; i < all.size(); ++i) {
    all[i].run();
    for (size_t j = 0; j < m * n; ++j) {
      if (std::abs(ours[j] - theirs[j]) < 1e-3F) continue;
      fmt::print(stderr, "{} gives {} for {} at {}\n", all[i].name, theirs[j], ours[j], j);
      std::exit(1);
    }
  }
  for (double spent = 0; spent < seconds * static_cast<double>(all.size());) {
    for (Peer& peer : all) {
      peer.run();  // its weights are in the cache again, as if it ran alone
      const auto start = std::chrono::steady_clock::now();
      peer.run();
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
      peer.best = std::min(peer.best, passed.count());
      spent += 2 * passed.count();
    }
  }
  std::string line = fmt::format(R"({{"block": "{}", "m": {}, "k": {}, "n": {}, "sparsity": {})",
                                 to_string(block), m, k, n, zeros / 100.0);
  for (const Peer& peer : all)
    line += fmt::format(R"(, "{}": {:.6f})", peer.name, 1000 * peer.best);
  fmt::print("{}}}\n", line);
  std::fflush(stdout);
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.1;
  constexpr size_t kShapes[][2] = {{1152, 384}, {768, 768}, {3072, 768}, {4096, 4096}};
  for (const espalier::BlockShape block : {espalier::BlockShape{1, 1}, espalier::BlockShape{16, 1}})
    for (const auto& [m, k] : kShapes)
      for (const int zeros : {50, 75, 90, 95})
        for (const size_t n : {16, 64, 256}) espalier::compare(block, m, k, zeros, n, seconds);
}
