#include "lib/prune/select/fixed_transform.h"

#include <doctest/doctest.h>

using espalier::fixed_transform_word;

TEST_CASE("names of fixed transforms are recognised by a word") {
  for (const char* name : {"stft.forward_basis_buffer",
                           "model.stft.forward_basis_buffer",
                           "mel_basis",
                           "spectrogram_extractor.stft.conv_real.weight",
                           "logmel_extractor.melW",
                           "mel_filterbank",
                           "frontend/MelFilters:0",
                           "fbank.mel_fb",
                           "mel_80_filters",
                           "hann_window",
                           "HannWindow",
                           "window",
                           "dct_matrix",
                           "preprocessor.dct.mat",
                           "fft_kernel",
                           "ISTFT.inverse_basis",
                           "dft_real",
                           "rfft/matrix",
                           "encoder.mel_basis",
                           "position_embeddings.weight",
                           "pos_embed",
                           "model.embeddings.position_embedding",
                           "positional_encoding",
                           "transformer.pos_enc.pe",
                           "pos_encoder.pe",
                           "rotary_emb.inv_freq",
                           "sinusoidal_table",
                           "filter_bank"}) {
    CAPTURE(name);
    CHECK(fixed_transform_word(name) != "");
  }
}

TEST_CASE("ordinary names are not taken for fixed transforms") {
  for (const char* name : {"basic_block.conv1.weight",
                           "layer1.0.basic.weight",
                           "positional_feedforward.weight",
                           "mel_linear.weight",
                           "mel_encoder.conv1.weight",
                           "to_mel.weight",
                           "mel_proj.weight",
                           "encoder.fft_blocks.0.pos_ffn.w_1.weight",
                           "window_attention.qkv.weight",
                           "melody.weight",
                           "windowed.weight",
                           "encoder.pos_conv_embed.conv.weight_v",
                           "stft_discriminator.conv.weight",
                           "position_encoder.layers.0.fc.weight",
                           "fc1.weight",
                           "w1",
                           "lstm_4_W",
                           "dense_2/kernel:0",
                           "onnx::MatMul_470",
                           "conv2d_395.w_0",
                           "model_2/lstm_6/MatMul/ReadVariableOp/resource:0",
                           "smell.weight",
                           "attention.self.query.weight",
                           "channel.weight",
                           "database",
                           ""}) {
    CAPTURE(name);
    CHECK(fixed_transform_word(name) == "");
  }
}

TEST_CASE("the word found is the one that says it") {
  CHECK(fixed_transform_word("stft.forward_basis_buffer") == "stft");
  CHECK(fixed_transform_word("a.posEmbedding") == "pos embedding");
}
