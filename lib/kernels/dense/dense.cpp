// Dense products by oneDNN: inner_product where samples are rows of X, matmul where they are
// columns. Weights are cut into pieces of rows by their size alone, so that results do not depend
// on the number of threads.
#include "lib/kernels/dense/dense.h"

#include <algorithm>
#include <cstring>

#include "lib/base/checked_math.h"
#include "lib/kernels/dense/dense_vector.h"
#include "lib/kernels/dense/dnnl_call.h"
#include "lib/kernels/elementwise/elementwise.h"
#include "lib/kernels/split_rows.h"

namespace espalier {
namespace {

using Tag = dnnl::memory::format_tag;

constexpr size_t kPieceValues = size_t{1} << 18;  // 1 MiB of weights are worth an item of their own
constexpr size_t kMaxPieces = 16, kPieceRows = 64;
constexpr size_t kSamplesForMatmul = 16;  // below, oneDNN is quicker with samples as rows
constexpr size_t kMaxCalls = 8;           // sample counts that are remembered

dnnl::memory::desc plain(size_t rows, size_t cols) {
  return {{static_cast<int64_t>(rows), static_cast<int64_t>(cols)},
          dnnl::memory::data_type::f32,
          Tag::ab};
}
dnnl::memory::desc any(size_t rows, size_t cols) {
  return {{static_cast<int64_t>(rows), static_cast<int64_t>(cols)},
          dnnl::memory::data_type::f32,
          Tag::any};
}
dnnl::memory::desc vector(size_t count) {
  return {{static_cast<int64_t>(count)}, dnnl::memory::data_type::f32, Tag::a};
}

enum class Kind { kInnerProduct, kInnerProductBias, kMatmul };

// Some rows of W, and the primitives that multiply with them.
class Piece {
 public:
  Piece(const float* weight, size_t first, size_t rows, size_t k)
      : first_(first), rows_(rows), k_(k) {
    dnnl::memory copy(plain(rows, k), dnnl_engine());
    std::memcpy(copy.get_data_handle(), weight + first * k, rows * k * sizeof(float));
    packed_.push_back(std::move(copy));
    only_as_given_ = true;
  }

  size_t first() const { return first_; }
  size_t rows() const { return rows_; }
  size_t bytes() const {
    size_t sum = panels_.bytes();
    for (const dnnl::memory& memory : packed_) sum += memory.get_desc().get_size();
    return sum;
  }

  /// For products with one sample, which oneDNN begins with an allocation.
  const DensePanels& panels() {
    if (!panels_.empty()) return panels_;
    const dnnl::memory given = reordered(packed_.back(), plain(rows_, k_));
    panels_ = DensePanels(static_cast<const float*>(given.get_data_handle()), rows_, k_);
    if (only_as_given_) packed_.clear();
    only_as_given_ = false;
    return panels_;
  }

  DnnlCall& call(Kind kind, size_t n) {
    for (Remembered& one : calls_)
      if (one.kind == kind && one.n == n) return one.call;
    if (calls_.size() == kMaxCalls) calls_.erase(calls_.begin());
    calls_.push_back({kind, n, kind == Kind::kMatmul ? make_matmul(n) : make_inner(kind, n)});
    return calls_.back().call;
  }

 private:
  struct Remembered {
    Kind kind;
    size_t n;
    DnnlCall call;
  };

  // The weights as `desc`. What the caller gave is dropped once a layout of oneDNN's own replaces
  // it; further layouts are made from that one.
  dnnl::memory packed_as(const dnnl::memory::desc& desc) {
    for (const dnnl::memory& memory : packed_)
      if (memory.get_desc() == desc) {
        only_as_given_ = false;
        return memory;
      }
    if (packed_.empty()) {
      packed_.emplace_back(plain(rows_, k_), dnnl_engine());
      panels_.unpack(static_cast<float*>(packed_.back().get_data_handle()));
      only_as_given_ = true;
    }
    dnnl::memory result = reordered(packed_.back(), desc);
    if (only_as_given_) packed_.clear();
    only_as_given_ = false;
    packed_.push_back(result);
    return result;
  }

  DnnlCall make_inner(Kind kind, size_t n) {
    const bool bias = kind == Kind::kInnerProductBias;
    const auto inference = dnnl::prop_kind::forward_inference;
    using Inner = dnnl::inner_product_forward;
    const Inner::desc desc =
        bias ? Inner::desc(inference, plain(n, k_), any(rows_, k_), vector(rows_), plain(n, rows_))
             : Inner::desc(inference, plain(n, k_), any(rows_, k_), plain(n, rows_));
    const Inner::primitive_desc chosen(desc, dnnl_attributes(), dnnl_engine());
    std::vector<std::pair<int, dnnl::memory>> arguments = {
        {DNNL_ARG_SRC, unbound(chosen.src_desc())},
        {DNNL_ARG_WEIGHTS, packed_as(chosen.weights_desc())},
        {DNNL_ARG_DST, unbound(chosen.dst_desc())}};
    if (bias) arguments.emplace_back(DNNL_ARG_BIAS, unbound(vector(rows_)));
    return {Inner(chosen), chosen.scratchpad_desc(), std::move(arguments)};
  }

  DnnlCall make_matmul(size_t n) {
    const dnnl::matmul::desc desc(any(rows_, k_), plain(k_, n), plain(rows_, n));
    const dnnl::matmul::primitive_desc chosen(desc, dnnl_attributes(), dnnl_engine());
    return {dnnl::matmul(chosen),
            chosen.scratchpad_desc(),
            {{DNNL_ARG_SRC, packed_as(chosen.src_desc())},
             {DNNL_ARG_WEIGHTS, unbound(chosen.weights_desc())},
             {DNNL_ARG_DST, unbound(chosen.dst_desc())}}};
  }

  size_t first_, rows_, k_;
  DensePanels panels_;
  std::vector<dnnl::memory> packed_;  // one for each layout in use; none where panels_ serves alone
  bool only_as_given_ = false;
  std::vector<Remembered> calls_;
};

void transpose(const float* from, size_t rows, size_t cols, float* to) {
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < cols; ++c) to[c * rows + r] = from[r * cols + c];
}

class DenseProduct final : public Product {
 public:
  DenseProduct(const float* weight, size_t m, size_t k) : m_(m), k_(k) {
    keep_dnnl_on_this_thread();
    const size_t wanted = std::clamp<size_t>(m * k / kPieceValues, 1, kMaxPieces);
    const size_t rows = round_up(ceil_div(m, wanted), kPieceRows);
    for (size_t first = 0; first < m && k != 0; first += rows)
      pieces_.emplace_back(weight, first, std::min(rows, m - first), k);
  }

  void run(const float* x, Features features, size_t n, const float* bias, float* y,
           ThreadPool& pool) const override {
    if (n == 0 || m_ == 0) return;
    with_dnnl_errors("a dense product", [&] {
      if (k_ == 0) {
        fill_with_bias(features, n, bias, y);
      } else if (n == 1) {
        run_vector(x, bias, y, pool);
      } else if (features == Features::kInner) {
        run_inner(x, n, bias, y, pool);
      } else if (n < kSamplesForMatmul) {
        run_transposed(x, n, bias, y, pool);
      } else {
        run_matmul(x, n, bias, y, pool);
      }
    });
  }

  std::string_view kernel() const override { return "dense"; }
  size_t bytes() const override {
    size_t sum = 0;
    for (const Piece& piece : pieces_) sum += piece.bytes();
    return sum;
  }

 private:
  void fill_with_bias(Features features, size_t n, const float* bias, float* y) const {
    for (size_t o = 0; o < m_; ++o)
      for (size_t s = 0; s < n; ++s)
        y[features == Features::kInner ? s * m_ + o : o * n + s] = bias == nullptr ? 0.0F : bias[o];
  }

  // Primitives are made before the work is shared out.
  std::vector<DnnlCall*>& calls(Kind kind, size_t n) const {
    keep_dnnl_on_this_thread();
    calls_.clear();
    for (Piece& piece : pieces_) calls_.push_back(&piece.call(kind, n));
    return calls_;
  }

  // Runs every piece, on threads where that is worth it.
  template <typename Task>
  void share_out(const Task& task, size_t n, ThreadPool& pool) const {
    if (items_for(pool, m_ * k_ * n) == 1) {
      for (size_t item = 0; item < pieces_.size(); ++item) task.run(item);
    } else {
      for_each_item(pool, pieces_.size(), task);
    }
  }

  void run_pieces(size_t n, ThreadPool& pool) const {
    struct Pieces {
      DnnlCall* const* calls;
      void run(size_t item) const {
        keep_dnnl_on_this_thread();
        calls[item]->run();
      }
    };
    share_out(Pieces{calls_.data()}, n, pool);
  }

  void run_vector(const float* x, const float* bias, float* y, ThreadPool& pool) const {
    struct Pieces {
      Piece* pieces;
      const float *x, *bias;
      float* y;
      void run(size_t item) const {
        Piece& piece = pieces[item];
        const size_t first = piece.first();
        piece.panels().run(x, bias == nullptr ? nullptr : bias + first, y + first);
      }
    };
    share_out(Pieces{pieces_.data(), x, bias, y}, 1, pool);
  }

  void run_inner(const float* x, size_t n, const float* bias, float* y, ThreadPool& pool) const {
    const Kind kind = bias == nullptr ? Kind::kInnerProduct : Kind::kInnerProductBias;
    const bool apart = n > 1 && pieces_.size() > 1;  // pieces of several rows lie apart in Y
    float* const to = apart ? scratch(pieces_y_, n * m_) : y;
    auto& calls = this->calls(kind, n);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      calls[i]->set(DNNL_ARG_SRC, x);
      calls[i]->set(DNNL_ARG_DST, to + pieces_[i].first() * n);
      if (bias != nullptr) calls[i]->set(DNNL_ARG_BIAS, bias + pieces_[i].first());
    }
    run_pieces(n, pool);
    if (!apart) return;
    for (const Piece& piece : pieces_)
      for (size_t s = 0; s < n; ++s)
        std::copy_n(to + piece.first() * n + s * piece.rows(), piece.rows(),
                    y + s * m_ + piece.first());
  }

  void run_transposed(const float* x, size_t n, const float* bias, float* y,
                      ThreadPool& pool) const {
    float* const rows = scratch(transposed_, n * (k_ + m_));
    transpose(x, k_, n, rows);
    run_inner(rows, n, bias, rows + n * k_, pool);
    transpose(rows + n * k_, n, m_, y);
  }

  void run_matmul(const float* x, size_t n, const float* bias, float* y, ThreadPool& pool) const {
    auto& calls = this->calls(Kind::kMatmul, n);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      calls[i]->set(DNNL_ARG_WEIGHTS, x);
      calls[i]->set(DNNL_ARG_DST, y + pieces_[i].first() * n);
    }
    run_pieces(n, pool);
    if (bias == nullptr) return;  // oneDNN takes no bias per row
    for (size_t o = 0; o < m_; ++o) add({y + o * n, n}, bias[o], {y + o * n, n});
  }

  static float* scratch(std::vector<float>& buffer, size_t count) {
    if (buffer.size() < count) buffer.resize(count);
    return buffer.data();
  }

  size_t m_, k_;
  // Made at the first run for each number of samples; not called by two threads at a time.
  mutable std::vector<Piece> pieces_;
  mutable std::vector<DnnlCall*> calls_;
  mutable std::vector<float> pieces_y_, transposed_;
};

}  // namespace

std::unique_ptr<const Product> prepare_dense(const float* weight, size_t m, size_t k) {
  return with_dnnl_errors("a dense weight", [&] {
    return std::unique_ptr<const Product>(std::make_unique<DenseProduct>(weight, m, k));
  });
}

}  // namespace espalier
