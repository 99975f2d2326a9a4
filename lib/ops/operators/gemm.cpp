#include "lib/ops/fold.h"
#include "lib/ops/operator.h"

namespace espalier {

constinit const Operator gemm_operator{.name = "Gemm", .fold = fold_gemm};

}  // namespace espalier
