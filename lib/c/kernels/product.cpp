#include <array>

#include "lib/c/kernels/guard.h"
#include "lib/c/kernels/handles.h"

struct espalier_product {
  std::unique_ptr<const espalier::Product> product;
  size_t outputs, inputs;
  std::array<char, 16> kernel;
};

namespace espalier {
namespace {

// By espalier_activation_kind.
constexpr std::array<std::string_view, 12> kStageNames{
    "",          "Relu",  "Sigmoid", "Tanh",     "LeakyRelu", "HardSigmoid",
    "HardSwish", "Swish", "Gelu",    "GeluTanh", "Clip",      "Affine"};

}  // namespace

OutputStage::OutputStage(const espalier_activation* activation) {
  if (activation == nullptr || activation->kind == ESPALIER_NONE) return;
  const espalier_activation_kind kind = activation->kind;
  expect(kind >= 0 && kind <= ESPALIER_SOFTPLUS, "activation {} is not one of {}", kind,
         ESPALIER_SOFTPLUS + 1);
  if (static_cast<size_t>(kind) >= kStageNames.size())
    throw Error(Fault::kUnsupported,
                fmt::format("activation {} belongs to recurrent layers alone", kind));
  stage_ = {find_stage(kStageNames[static_cast<size_t>(kind)])->run, activation->alpha,
            activation->beta};
}

bool exact_values(uint32_t flags, const char* name) {
  expect_flags(flags, ESPALIER_EXACT_VALUES, name);
  return (flags & ESPALIER_EXACT_VALUES) != 0;
}

}  // namespace espalier

using namespace espalier;

extern "C" {

espalier_status espalier_product_create(const espalier_matrix* matrix, uint32_t flags,
                                        espalier_product** product) {
  return guarded([&] {
    espalier_product*& result = not_null(product, "product");
    result = nullptr;
    const SparseMatrix& weight = not_null(matrix, "matrix").matrix;
    const bool exact = exact_values(flags, "product");
    auto made = std::make_unique<espalier_product>();
    made->product = prepare_sparse(weight, /*plain=*/false, exact);
    made->outputs = weight.fold.parts * weight.fold.rows;
    made->inputs = weight.fold.cols;
    const std::string_view kernel = made->product->kernel();
    kernel.copy(made->kernel.data(), made->kernel.size() - 1);
    result = made.release();
  });
}

espalier_status espalier_product_run(espalier_product* product, const float* x,
                                     espalier_layout layout, size_t n, const float* bias,
                                     const espalier_activation* activation, float* y,
                                     espalier_pool* pool) {
  return guarded([&] {
    const espalier_product& of = not_null(product, "product");
    expect(layout == ESPALIER_SAMPLES_OUTER || layout == ESPALIER_SAMPLES_INNER,
           "layout is {}, expected 0 or 1", layout);
    const OutputStage stage(activation);
    product_of_extents({n, of.inputs, sizeof(float)}, "x");
    const size_t count = product_of_extents({n, of.outputs, sizeof(float)}, "y") / sizeof(float);
    if (count == 0) return;
    not_null(x, "x");
    not_null(y, "y");
    const Features features =
        layout == ESPALIER_SAMPLES_OUTER ? Features::kInner : Features::kOuter;
    ThreadPool& threads = pool_of(pool);
    of.product->run(x, features, n, bias, y, threads);
    stage.apply({y, count}, threads);
  });
}

const char* espalier_product_kernel(const espalier_product* product) {
  return product == nullptr ? "" : product->kernel.data();
}
size_t espalier_product_bytes(const espalier_product* product) {
  return product == nullptr ? 0 : product->product->bytes();
}
void espalier_product_destroy(espalier_product* product) { delete product; }

}  // extern "C"
