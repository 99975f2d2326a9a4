#include "formats/nnef/read/graph.h"
#include "lib/base/error.h"

namespace {

using namespace espalier;

// Tensors that entries can name: x, w (u8), v (i32), b (f32), y.
constexpr std::string_view kGraph =
    "version 1.0;\n"
    "extension KHR_enable_fragment_definitions;\n"
    "extension KHR_enable_operator_expressions;\n"
    "fragment half( x: tensor<scalar>, step: scalar ) -> ( y: tensor<scalar> )"
    "{ y = floor(x / step) * step; }\n"
    "graph g( x ) -> ( y ) { x = external(shape = [2, 3]);\n"
    "w = variable(shape = [4, 3], label = 'u'); v = variable(shape = [4, 1], label = 'i');\n"
    "b = variable(shape = [1, 4], label = 'f');\n"
    "y = linear(x, w, b); }\n";

Tensor load(std::string_view label) {
  if (label == "u") return Tensor::zeros(DType::kU8, {4, 3});
  if (label == "i") return Tensor::zeros(DType::kI32, {4, 1});
  return Tensor::zeros(DType::kF32, {1, 4});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    nnef::Document document = nnef::parse_document(kGraph);
    document.quantization = nnef::parse_quantization(text);
    static_cast<void>(nnef::translate(document, load));
  } catch (const Error&) {
  }
  return 0;
}
