#include "formats/nnef/write_operators.h"

#include <algorithm>
#include <array>
#include <utility>

namespace espalier::nnef {
namespace {

constexpr auto kSpellings = std::to_array<std::pair<std::string_view, Spell>>({
    {"Abs", spell_unary},
    {"Add", spell_binary},
    {"And", spell_binary},
    {"AveragePool", spell_pool},
    {"BatchNormalization", spell_batch_normalization},
    {"Cast", spell_cast},
    {"Ceil", spell_unary},
    {"Clip", spell_clip},
    {"Concat", spell_concat},
    {"ConstantOfShape", spell_constant_of_shape},
    {"Conv", spell_conv},
    {"Cos", spell_unary},
    {"Div", spell_binary},
    {"Dropout", spell_alias},
    {"Elu", spell_unary},
    {"Equal", spell_binary},
    {"Erf", spell_unary},
    {"Exp", spell_unary},
    {"Expand", spell_expand},
    {"Flatten", spell_flatten},
    {"Floor", spell_unary},
    {"GRU", spell_gru},
    {"Gather", spell_gather},
    {"Gemm", spell_gemm},
    {"GlobalAveragePool", spell_global_pool},
    {"GlobalMaxPool", spell_global_pool},
    {"Greater", spell_binary},
    {"GreaterOrEqual", spell_binary},
    {"HardSigmoid", spell_hard_sigmoid},
    {"HardSwish", spell_unary},
    {"Identity", spell_alias},
    {"LSTM", spell_lstm},
    {"LeakyRelu", spell_leaky_relu},
    {"Less", spell_binary},
    {"LessOrEqual", spell_binary},
    {"Log", spell_unary},
    {"MatMul", spell_matmul},
    {"Max", spell_binary},
    {"MaxPool", spell_pool},
    {"Min", spell_binary},
    {"Mul", spell_binary},
    {"Neg", spell_unary},
    {"Not", spell_unary},
    {"Or", spell_binary},
    {"PRelu", spell_prelu},
    {"Pad", spell_pad},
    {"Pow", spell_binary},
    {"RNN", spell_rnn},
    {"Reciprocal", spell_unary},
    {"ReduceMax", spell_reduce},
    {"ReduceMean", spell_reduce},
    {"ReduceMin", spell_reduce},
    {"ReduceSum", spell_reduce},
    {"Relu", spell_unary},
    {"Reshape", spell_reshape},
    {"Round", spell_unary},
    {"Sigmoid", spell_unary},
    {"Sign", spell_unary},
    {"Sin", spell_unary},
    {"Slice", spell_slice},
    {"Softmax", spell_softmax},
    {"Softplus", spell_unary},
    {"Split", spell_split},
    {"Sqrt", spell_unary},
    {"Squeeze", spell_squeeze},
    {"Sub", spell_binary},
    {"Tanh", spell_unary},
    {"Transpose", spell_transpose},
    {"Unsqueeze", spell_unsqueeze},
    {"Where", spell_where},
});
static_assert(std::ranges::is_sorted(kSpellings, {}, &std::pair<std::string_view, Spell>::first));

}  // namespace

Spell find_spelling(std::string_view op) {
  const auto found =
      std::ranges::lower_bound(kSpellings, op, {}, &std::pair<std::string_view, Spell>::first);
  return found != kSpellings.end() && found->first == op ? found->second : nullptr;
}

}  // namespace espalier::nnef
