#include "formats/nnef/write/names.h"

#include <doctest/doctest.h>

#include <string>

namespace espalier::nnef {
namespace {

TEST_CASE("an identifier keeps what it can of a name and is given once") {
  Names names;
  CHECK(names.identifier("fc1") == "fc1");
  CHECK(names.identifier("fc1") == "fc1_1");
  CHECK(names.identifier("/encoder.0/Conv:0") == "_encoder_0_Conv_0");
  CHECK(names.identifier("fc1_1") == "fc1_1_1");
  CHECK(names.identifier("") == "_");
  CHECK(names.identifier("7up") == "_7up");
  CHECK(names.identifier("gr\xC3\xBC") == "gr__");
}

TEST_CASE("an identifier is no keyword and starts like no literal") {
  Names names;
  for (const std::string word : {"graph", "for", "integer", "true", "yield", "inf"}) {
    CHECK(names.identifier(word) == "_" + word);
  }
  CHECK(names.identifier("true_value") == "_true_value");
  CHECK(names.identifier("inference") == "_inference");
  CHECK(names.identifier("falsetto") == "_falsetto");
  CHECK(names.identifier("input") == "input");  // in is a keyword, its beginning is not
}

TEST_CASE("a label stays below the model's folder") {
  Names names;
  CHECK(names.label("encoder.0/weight") == "encoder.0/weight");
  CHECK(names.label("dense_2/kernel:0") == "dense_2/kernel:0");
  CHECK(names.label("onnx::LSTM_209") == "onnx::LSTM_209");
  CHECK(names.label("/absolute/w") == "absolute/w");
  CHECK(names.label("../../etc/passwd") == "etc/passwd");
  CHECK(names.label("a/./b//c/..") == "a/b/c");
  CHECK(names.label("..") == "_");
  CHECK(names.label("") == "__1");
  CHECK(names.label("a\\b'c\"d\n") == "a_b_c_d_");
  CHECK(names.label("{{x}}{%{#") == "__x___%__");
  CHECK(names.label(std::string(500, 'w')).size() <= 180);
  CHECK(names.label("trailing. /x ") == "trailing/x");
}

TEST_CASE("labels differ as files on any file system") {
  Names names;
  CHECK(names.label("w") == "w");
  CHECK(names.label("w") == "w_1");
  CHECK(names.label("W") == "W_2");  // some file systems take W.dat for w.dat, and w_1 is taken
  CHECK(names.label("w.dat/x") == "w.dat_x_1");  // w.dat is a file already
  CHECK(names.label("graph.nnef/x") == "graph.nnef_x_1");
  CHECK(names.label("v.dat/x") == "v.dat/x");
  CHECK(names.label("v") == "v_1");  // and v.dat a folder
}

TEST_CASE("a packed weight's parts meet no other label") {
  Names names;
  CHECK(names.label("fc/values") == "fc/values");
  CHECK(names.packed_label("fc") == "fc_1");
  CHECK(names.label("fc_1/index") == "fc_1_index_1");
  CHECK(names.label("fc") == "fc");  // a file beside a folder of other parts
}

}  // namespace
}  // namespace espalier::nnef
