#include "lib/ops/fold.h"
#include "lib/ops/operator.h"

namespace espalier {

constinit const Operator conv_operator{.name = "Conv", .fold = fold_conv};

}  // namespace espalier
