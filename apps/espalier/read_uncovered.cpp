#include "apps/espalier/read_uncovered.h"

#include "formats/format.h"
#include "lib/passes/recurrent_loops.h"
#include "lib/passes/uncover_weights.h"

namespace espalier {

Model read_uncovered(const std::filesystem::path& path, size_t threads) {
  ThreadPool pool(threads);
  return with_uncovered_weights(with_recurrent_layers(read_model(path), pool), pool);
}

}  // namespace espalier
