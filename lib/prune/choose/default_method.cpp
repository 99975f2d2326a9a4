#include "lib/prune/choose/default_method.h"

#include "lib/prune/score/criterion.h"

namespace espalier {

std::string default_method(const Fold& fold, BlockShape block, double most) {
  for (const char* name : {"obs", "admm"}) {
    if (find_criterion(name)->multiply_adds(fold, block) <= most) return name;
  }
  return "sparsegpt";
}

double obs_multiply_adds(const Fold& fold, BlockShape block) {
  return find_criterion("obs")->multiply_adds(fold, block);
}

}  // namespace espalier
