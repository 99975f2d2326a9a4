#pragma once

#include "formats/nnef/write_context.h"

namespace espalier::nnef {

// write_elementwise.cpp
void spell_unary(NodeWriter& n);
void spell_binary(NodeWriter& n);
void spell_alias(NodeWriter& n);
void spell_cast(NodeWriter& n);
void spell_clip(NodeWriter& n);
void spell_softmax(NodeWriter& n);
void spell_leaky_relu(NodeWriter& n);
void spell_hard_sigmoid(NodeWriter& n);
void spell_prelu(NodeWriter& n);
void spell_where(NodeWriter& n);

// write_products.cpp
void spell_gemm(NodeWriter& n);
void spell_matmul(NodeWriter& n);

// write_windows.cpp
void spell_conv(NodeWriter& n);
void spell_pool(NodeWriter& n);
void spell_global_pool(NodeWriter& n);
void spell_batch_normalization(NodeWriter& n);
void spell_reduce(NodeWriter& n);

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
void spell_gather(NodeWriter& n);
void spell_constant_of_shape(NodeWriter& n);
void spell_expand(NodeWriter& n);

// write_recurrent.cpp
void spell_gru(NodeWriter& n);
void spell_lstm(NodeWriter& n);
void spell_rnn(NodeWriter& n);

}  // namespace espalier::nnef
