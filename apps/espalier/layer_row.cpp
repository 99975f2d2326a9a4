#include "apps/espalier/layer_row.h"

#include "formats/format.h"
#include "lib/prune/pack/block_pattern.h"

namespace espalier {

LayerResult unstored_row(const Layer& layer) {
  LayerResult row;
  row.name = layer.node.empty() ? layer.weight : layer.node;
  row.node = layer.node;
  row.weight = layer.weight;
  row.op = layer.op;
  row.type = name_of(layer.dtype);
  row.shape = layer.shape;
  row.matrix_rows = layer.fold.parts * layer.fold.rows;
  row.matrix_cols = layer.fold.cols;
  row.weights = layer.weights();
  row.left_out = layer.left_out;
  return row;
}

LayerResult layer_row(const Layer& layer, const Weight& before, const Weight& after,
                      const std::string& profile) {
  LayerResult row = unstored_row(layer);
  row.bytes_before = stored_bytes(before);
  row.bytes_after = stored_bytes(after, profile);
  row.values = name_of(after.is_sparse() ? after.sparse().values.dtype() : after.dtype());
  if (after.is_sparse()) {
    const SparseMatrix& packed = after.sparse();
    row.block = to_string(packed.block);
    row.blocks = packed.fold.parts * packed.grid_rows() * packed.grid_cols();
    row.blocks_kept = packed.blocks();
    row.diagonal = packed.diagonal.count();
  }
  return row;
}

double zeros_left(const PackedModels& models, const LayerPlan& plan) {
  const Weight& packed = weight_of(models.packed, plan.layer);
  // Values of the weight's own type are those that were kept, and quicker to look at.
  const bool exact = packed.is_sparse() && packed.sparse().values.dtype() == packed.dtype();
  return zero_share(exact ? packed : weight_of(models.masked, plan.layer), plan.layer.fold,
                    plan.diagonal);
}

}  // namespace espalier
