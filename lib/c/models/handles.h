#pragma once

// Inside lib/c/models only: what is behind the handles.

#include <vector>

#include "formats/format.h"
#include "lib/c/kernels/guard.h"
#include "lib/c/kernels/handles.h"
#include "lib/c/models/espalier.h"

struct espalier_model {
  espalier::Model model;                  // as the runtime takes it
  std::vector<espalier::ValueId> inputs;  // that are fed
};
