#pragma once

#include <string_view>

#include "lib/base/thread_pool.h"
#include "lib/prune/select/selection.h"

namespace espalier {

/// Tables of Gather among `layers` that are dense and wider than `values` (f16, bf16, i8) as packed
/// weights of which every row that is not zero is kept, one block in a row: they are as large as
/// their values. One with a value that does not fit stays as it is, with a warning.
Model with_narrow_tables(const Model& model, const std::vector<Layer>& layers,
                         std::string_view values, ThreadPool& pool);

}  // namespace espalier
