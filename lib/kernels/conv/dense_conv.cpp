// Convolutions by oneDNN in the layouts it likes best; images are reordered on the way in and out.
// Output channels are cut into pieces by the size of the problem alone, so that results do not
// depend on the number of threads.
#include "lib/kernels/conv/dense_conv.h"

#include <algorithm>
#include <cstring>

#include "lib/base/check.h"
#include "lib/base/checked_math.h"
#include "lib/kernels/dense/dnnl_call.h"
#include "lib/kernels/split_rows.h"

namespace espalier {
namespace {

using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;

constexpr size_t kPieceWork = size_t{1} << 22;  // multiply-adds that are worth an item of their own
constexpr size_t kMaxPieces = 16, kPieceChannels = 32;
constexpr size_t kMaxPlans = 8;  // input sizes that are remembered

int64_t as_dim(size_t extent) { return static_cast<int64_t>(extent); }

dnnl::memory::desc layout(const Dims& dims, Tag tag) {
  return {dims, dnnl::memory::data_type::f32, tag};
}

Dims pair_of(const std::array<size_t, 2>& pair) { return {as_dim(pair[0]), as_dim(pair[1])}; }

struct Extents {
  size_t n, height, width, out_height, out_width;
  bool operator==(const Extents&) const = default;
};

// Output channels first .. first + count - 1, which read channels_in from first_in on.
struct Range {
  size_t first, count, groups, first_in, channels_in;
};

// Reorder in, convolution, reorder out; reorders only where oneDNN's layout is another one.
struct PieceCalls {
  DnnlCall in, convolution, out;
  dnnl::memory source;  // of the convolution
};

struct Plan {
  Extents extents;
  std::vector<PieceCalls> pieces;
  bool share_source = false;  // pieces after the first read what its reorder made
};

class OnednnConv final : public DenseConv {
 public:
  OnednnConv(const ConvShape& shape, const float* weight, const float* bias, bool relu)
      : shape_(shape), relu_(relu) {
    const size_t per_group = shape.channels_in / shape.groups;
    const Dims dims = {as_dim(shape.groups), as_dim(shape.channels_out / shape.groups),
                       as_dim(per_group), as_dim(shape.kernel[0]), as_dim(shape.kernel[1])};
    weight_ = dnnl::memory(layout(dims, Tag::goihw), dnnl_engine());
    std::memcpy(weight_.get_data_handle(), weight, weight_.get_desc().get_size());
    if (bias == nullptr) return;
    bias_ = dnnl::memory(layout({as_dim(shape.channels_out)}, Tag::a), dnnl_engine());
    std::memcpy(bias_.get_data_handle(), bias, bias_.get_desc().get_size());
  }

  void run(const float* x, size_t n, size_t height, size_t width, float* y,
           ThreadPool& pool) const override {
    const Extents extents{n, height, width, shape_.output_extent(0, height),
                          shape_.output_extent(1, width)};
    if (n == 0 || extents.out_height == 0 || extents.out_width == 0) return;
    with_dnnl_errors("a convolution", [&] {
      keep_dnnl_on_this_thread();
      run_plan(plan_for(extents), x, y, pool);
    });
  }

  size_t bytes() const override { return weight_.get_desc().get_size() + packed_bytes_; }

 private:
  size_t work(const Extents& e) const {
    return e.n * e.out_height * e.out_width * shape_.channels_out *
           (shape_.channels_in / shape_.groups) * shape_.kernel[0] * shape_.kernel[1];
  }

  std::vector<Range> ranges(const Extents& extents) const {
    const bool grouped = shape_.groups > 1;
    const size_t outputs = shape_.channels_out / shape_.groups;
    const size_t inputs = shape_.channels_in / shape_.groups;
    const size_t units = grouped ? shape_.groups : shape_.channels_out;
    const size_t per_unit = grouped ? outputs : 1;
    // Pieces lie apart in Y only where there is one image.
    const size_t most = extents.n == 1 ? kMaxPieces : 1;
    const size_t wanted = std::clamp<size_t>(work(extents) / kPieceWork, 1, most);
    const size_t unit_step = std::max<size_t>(1, kPieceChannels / per_unit);
    const size_t step = wanted == 1 ? units : round_up(ceil_div(units, wanted), unit_step);
    std::vector<Range> result;
    for (size_t first = 0; first < units; first += step) {
      const size_t count = std::min(step, units - first);
      if (grouped) {
        result.push_back({first * outputs, count * outputs, count, first * inputs, count * inputs});
      } else {
        result.push_back({first, count, 1, 0, inputs});
      }
    }
    return result;
  }

  // Weights of a range: a view of all of them, packed as oneDNN wants it.
  dnnl::memory packed_weight(const Range& range, const dnnl::memory::desc& wanted) const {
    const size_t per_group = shape_.channels_in / shape_.groups;
    const Dims grouped = {as_dim(range.groups), as_dim(range.count / range.groups),
                          as_dim(per_group), as_dim(shape_.kernel[0]), as_dim(shape_.kernel[1])};
    const Dims plain = {grouped[1], grouped[2], grouped[3], grouped[4]};
    const bool one = shape_.groups == 1;
    float* first = static_cast<float*>(weight_.get_data_handle()) +
                   range.first * per_group * shape_.kernel[0] * shape_.kernel[1];
    const dnnl::memory view(one ? layout(plain, Tag::oihw) : layout(grouped, Tag::goihw),
                            dnnl_engine(), first);
    return reordered(view, wanted);
  }

  // The primitive for the filters of `range` and images of these extents: oneDNN chooses the
  // layouts; bias and ReLU are part of it where the convolution has them.
  dnnl::convolution_forward::primitive_desc describe(const Range& range, const Extents& e) const {
    using Conv = dnnl::convolution_forward;
    const size_t per_group = shape_.channels_in / shape_.groups;
    Dims weight = {as_dim(range.count / range.groups), as_dim(per_group), as_dim(shape_.kernel[0]),
                   as_dim(shape_.kernel[1])};
    if (shape_.groups > 1) weight.insert(weight.begin(), as_dim(range.groups));
    const auto source = layout(
        {as_dim(e.n), as_dim(range.channels_in), as_dim(e.height), as_dim(e.width)}, Tag::any);
    const auto target = layout(
        {as_dim(e.n), as_dim(range.count), as_dim(e.out_height), as_dim(e.out_width)}, Tag::any);
    const Dims strides = pair_of(shape_.stride), begin = pair_of(shape_.pad_begin);
    const Dims dilations = {as_dim(shape_.dilation[0] - 1), as_dim(shape_.dilation[1] - 1)};
    const Dims end = pair_of(shape_.pad_end);
    const auto how = dnnl::algorithm::convolution_direct;
    const auto inference = dnnl::prop_kind::forward_inference;
    const Conv::desc desc = bias_ ? Conv::desc(inference, how, source, layout(weight, Tag::any),
                                               layout({as_dim(range.count)}, Tag::a), target,
                                               strides, dilations, begin, end)
                                  : Conv::desc(inference, how, source, layout(weight, Tag::any),
                                               target, strides, dilations, begin, end);
    dnnl::primitive_attr attributes = dnnl_attributes();
    if (relu_) {
      dnnl::post_ops after;
      after.append_eltwise(1.0F, dnnl::algorithm::eltwise_relu, 0.0F, 0.0F);
      attributes.set_post_ops(after);
    }
    return {desc, attributes, dnnl_engine()};
  }

  // Calls for a range; `shared` is the source of an earlier piece, used where the layout fits.
  PieceCalls make_piece(const Range& range, const Extents& e, const dnnl::memory& shared) const {
    const auto chosen = describe(range, e);
    PieceCalls calls;
    const auto plain_in = layout(
        {as_dim(e.n), as_dim(range.channels_in), as_dim(e.height), as_dim(e.width)}, Tag::nchw);
    const auto plain_out = layout(
        {as_dim(e.n), as_dim(range.count), as_dim(e.out_height), as_dim(e.out_width)}, Tag::nchw);
    if (chosen.src_desc() == plain_in) {
      calls.source = unbound(plain_in);
    } else if (shared && shared.get_desc() == chosen.src_desc()) {
      calls.source = shared;
    } else {
      calls.source = dnnl::memory(chosen.src_desc(), dnnl_engine());
      calls.in = make_reorder(unbound(plain_in), calls.source);
    }
    dnnl::memory target = unbound(plain_out);
    if (chosen.dst_desc() != plain_out) {
      const dnnl::memory blocked(chosen.dst_desc(), dnnl_engine());
      calls.out = make_reorder(blocked, target);
      target = blocked;
    }
    const dnnl::memory packed = packed_weight(range, chosen.weights_desc());
    packed_bytes_ += packed.get_desc().get_size();
    std::vector<std::pair<int, dnnl::memory>> arguments = {
        {DNNL_ARG_SRC, calls.source}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, target}};
    if (bias_)
      arguments.emplace_back(
          DNNL_ARG_BIAS, dnnl::memory(layout({as_dim(range.count)}, Tag::a), dnnl_engine(),
                                      static_cast<float*>(bias_.get_data_handle()) + range.first));
    calls.convolution = {dnnl::convolution_forward(chosen), chosen.scratchpad_desc(),
                         std::move(arguments)};
    return calls;
  }

  Plan& plan_for(const Extents& extents) const {
    for (Plan& plan : plans_)
      if (plan.extents == extents) return plan;
    if (plans_.size() == kMaxPlans) plans_.erase(plans_.begin());
    packed_bytes_ = 0;
    Plan plan{extents, {}, shape_.groups == 1};
    for (const Range& range : ranges(extents)) {
      const dnnl::memory shared =
          plan.share_source && !plan.pieces.empty() ? plan.pieces.front().source : dnnl::memory();
      plan.pieces.push_back(make_piece(range, extents, shared));
    }
    plans_.push_back(std::move(plan));
    return plans_.back();
  }

  // Binds x and y and brings x into the layout of the pieces that share it.
  void bind(Plan& plan, const float* x, float* y) const {
    const Extents& e = plan.extents;
    const std::vector<Range> all = ranges(e);
    for (size_t i = 0; i < all.size(); ++i) {
      PieceCalls& calls = plan.pieces[i];
      const float* const from = x + all[i].first_in * e.height * e.width;
      float* const to = y + all[i].first * e.out_height * e.out_width;
      if (calls.in) {
        calls.in.set(DNNL_ARG_FROM, from);
        if (plan.share_source) calls.in.run();
      } else if (!plan.share_source || i == 0 ||
                 calls.source.get() != plan.pieces.front().source.get()) {
        calls.convolution.set(DNNL_ARG_SRC, from);
      }
      if (calls.out) {
        calls.out.set(DNNL_ARG_TO, to);
      } else {
        calls.convolution.set(DNNL_ARG_DST, to);
      }
    }
  }

  void run_plan(Plan& plan, const float* x, float* y, ThreadPool& pool) const {
    bind(plan, x, y);
    struct Pieces {
      const Plan* plan;
      void run(size_t item) const {
        keep_dnnl_on_this_thread();
        const PieceCalls& calls = plan->pieces[item];
        if (calls.in && !plan->share_source) calls.in.run();
        calls.convolution.run();
        if (calls.out) calls.out.run();
      }
    };
    const Pieces task{&plan};
    if (items_for(pool, work(plan.extents)) == 1) {
      for (size_t item = 0; item < plan.pieces.size(); ++item) task.run(item);
    } else {
      for_each_item(pool, plan.pieces.size(), task);
    }
  }

  ConvShape shape_;
  bool relu_;
  dnnl::memory weight_, bias_;
  // Made at the first run for each input size; not called by two threads at a time.
  mutable std::vector<Plan> plans_;
  mutable size_t packed_bytes_ = 0;  // of the newest plan
};

}  // namespace

std::unique_ptr<const DenseConv> prepare_conv(const ConvShape& shape, const float* weight,
                                              const float* bias, bool relu) {
  ESPALIER_CHECK(shape.groups != 0 && shape.channels_in % shape.groups == 0 &&
                 shape.channels_out % shape.groups == 0);
  return with_dnnl_errors("a convolution", [&] {
    return std::unique_ptr<const DenseConv>(
        std::make_unique<OnednnConv>(shape, weight, bias, relu));
  });
}

}  // namespace espalier
