#include "lib/prune/score/criteria/largest.h"

namespace espalier {

constinit const Criterion max_criterion{.name = "max",
                                        .summary = "the block's largest absolute weight",
                                        .score = score_blocks<Largest>,
                                        .area_power = 0};

}  // namespace espalier
