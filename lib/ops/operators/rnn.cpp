// RNN: lib/kernels/recurrent/rnn.cpp has its formula.

#include "lib/ops/fold.h"
#include "lib/ops/op_util.h"
#include "lib/ops/recurrent.h"

namespace espalier {
namespace {

std::optional<Fold> fold(const Node&, size_t input, const Shape& shape) {
  return fold_recurrent(gates_of(RecurrentKind::kRnn), input, shape);
}
bool takes_packed(const Node&, size_t input) { return input == 1 || input == 2; }

Run prepare(const PrepareContext& context) { return RecurrentRun(context, RecurrentKind::kRnn); }

}  // namespace

constinit const Operator rnn_operator{.name = "RNN",
                                      .fold = fold,
                                      .takes_packed = takes_packed,
                                      .prepare = prepare,
                                      .half_as_f32 = true};

}  // namespace espalier
