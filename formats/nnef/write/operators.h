#pragma once

#include <span>
#include <string_view>

#include "formats/nnef/write/context.h"

namespace espalier::nnef {

/// How one ONNX operator is written. `nnef` are the NNEF operators that the text is made of, with a
/// blank between them: what spell_unary and the like call it comes first. Names that begin with
/// tract_ are of tract's registry, all others standard. Shape operators are computed while writing:
/// theirs is empty.
struct Spelling {
  std::string_view onnx;
  void (*spell)(NodeWriter& n);
  std::string_view nnef;
};

/// All of them, sorted by name.
std::span<const Spelling> spellings();
/// Null where there is none.
const Spelling* find_spelling(std::string_view op);

/// `x` with axis and the next as one.
Wire merge_axes(NodeWriter& n, const Wire& x, size_t axis, std::string id = "");

// write_elementwise.cpp
void spell_unary(NodeWriter& n);
void spell_binary(NodeWriter& n);
void spell_alias(NodeWriter& n);
void spell_cast(NodeWriter& n);
void spell_clip(NodeWriter& n);
void spell_mean(NodeWriter& n);
void spell_prelu(NodeWriter& n);
void spell_reciprocal(NodeWriter& n);
void spell_where(NodeWriter& n);

// write_activations.cpp
void spell_celu(NodeWriter& n);
void spell_elu(NodeWriter& n);
void spell_gelu(NodeWriter& n);
void spell_hard_sigmoid(NodeWriter& n);
void spell_leaky_relu(NodeWriter& n);
void spell_log_softmax(NodeWriter& n);
void spell_mish(NodeWriter& n);
void spell_selu(NodeWriter& n);
void spell_softmax(NodeWriter& n);
void spell_softsign(NodeWriter& n);
void spell_swish(NodeWriter& n);
void spell_thresholded_relu(NodeWriter& n);

// write_products.cpp
void spell_einsum(NodeWriter& n);
void spell_gemm(NodeWriter& n);
void spell_matmul(NodeWriter& n);

// write_windows.cpp
void spell_conv(NodeWriter& n);
void spell_conv_transpose(NodeWriter& n);
void spell_pool(NodeWriter& n);
void spell_global_pool(NodeWriter& n);

// write_resize.cpp
void spell_resize(NodeWriter& n);
void spell_grid_sample(NodeWriter& n);

// write_reductions.cpp
void spell_arg_reduce(NodeWriter& n);
void spell_reduce(NodeWriter& n);

// write_normalizations.cpp
void spell_batch_normalization(NodeWriter& n);
void spell_instance_normalization(NodeWriter& n);
void spell_layer_normalization(NodeWriter& n);
void spell_local_response_normalization(NodeWriter& n);
void spell_lp_normalization(NodeWriter& n);
void spell_mean_variance_normalization(NodeWriter& n);

// write_shapes.cpp
void spell_transpose(NodeWriter& n);
void spell_squeeze(NodeWriter& n);
void spell_unsqueeze(NodeWriter& n);
void spell_reshape(NodeWriter& n);
void spell_flatten(NodeWriter& n);
void spell_slice(NodeWriter& n);
void spell_split(NodeWriter& n);
void spell_concat(NodeWriter& n);
void spell_pad(NodeWriter& n);
void spell_constant_of_shape(NodeWriter& n);
void spell_expand(NodeWriter& n);
void spell_tile(NodeWriter& n);
void spell_range(NodeWriter& n);
void spell_depth_to_space(NodeWriter& n);
void spell_space_to_depth(NodeWriter& n);

// write_gathers.cpp
void spell_gather(NodeWriter& n);
void spell_gather_elements(NodeWriter& n);
void spell_gather_nd(NodeWriter& n);
void spell_is_inf(NodeWriter& n);
void spell_is_nan(NodeWriter& n);
void spell_scatter_elements(NodeWriter& n);
void spell_scatter_nd(NodeWriter& n);
void spell_top_k(NodeWriter& n);
void spell_trilu(NodeWriter& n);

// write_recurrent.cpp
void spell_gru(NodeWriter& n);
void spell_lstm(NodeWriter& n);
void spell_rnn(NodeWriter& n);

}  // namespace espalier::nnef
