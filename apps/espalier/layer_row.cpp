#include "apps/espalier/layer_row.h"

#include "formats/format.h"

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
  if (after.is_sparse()) {
    const SparseMatrix& packed = after.sparse();
    row.block = to_string(packed.block);
    row.blocks = packed.fold.parts * packed.grid_rows() * packed.grid_cols();
    row.blocks_kept = packed.blocks();
    row.diagonal = packed.diagonal.count();
  }
  return row;
}

}  // namespace espalier
