#include "lib/ops/fold.h"
#include "lib/ops/operator.h"

namespace espalier {

constinit const Operator matmul_operator{.name = "MatMul", .fold = fold_matmul};

}  // namespace espalier
