// LSTM: lib/kernels/recurrent/lstm.cpp has its formula.

#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/recurrent.h"

namespace espalier {
namespace {

std::optional<Fold> fold(const Node&, size_t input, const Shape& shape) {
  return fold_recurrent(gates_of(RecurrentKind::kLstm), input, shape);
}
bool takes_packed(const Node&, size_t input) { return input == 1 || input == 2; }

Run prepare(const PrepareContext& context) {
  if (int_attribute(context.node, "input_forget", 0) != 0)
    unsupported("input_forget is not supported");
  return RecurrentRun(context, RecurrentKind::kLstm);
}

}  // namespace

constinit const Operator lstm_operator{.name = "LSTM",
                                       .fold = fold,
                                       .takes_packed = takes_packed,
                                       .prepare = prepare,
                                       .half_as_f32 = true};

}  // namespace espalier
