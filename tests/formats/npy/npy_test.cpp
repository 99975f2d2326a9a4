#include "formats/npy/npy.h"

#include <doctest/doctest.h>

#include <numeric>

#include "lib/base/error.h"
#include "tests/support/shared_files.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

// A file of version `major` with this header text and these elements.
std::string npy(const std::string& header, const std::string& elements = "", char major = 1) {
  std::string length(major == 1 ? 2 : 4, '\0');
  length[0] = static_cast<char>(header.size() & 0xFF);
  length[1] = static_cast<char>(header.size() >> 8);
  return std::string("\x93NUMPY") + std::string{major, '\0'} + length + header + elements;
}

std::string header(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

std::string error_of(const std::string& bytes) {
  try {
    read_npy(as_bytes(bytes));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("an array of every type and shape is read back as it was written") {
  const TemporaryFolder folder;
  for (const DType dtype :
       {DType::kF32, DType::kF64, DType::kF16, DType::kI8, DType::kI16, DType::kI32, DType::kI64,
        DType::kU8, DType::kU16, DType::kU32, DType::kU64, DType::kBool, DType::kComplex64}) {
    for (const Shape& shape : {Shape{}, Shape{1}, Shape{0}, Shape{17}, Shape{3, 5, 7}}) {
      CAPTURE(name_of(dtype));
      CAPTURE(to_string(shape));
      Tensor tensor = Tensor::zeros(dtype, shape);
      for (size_t i = 0; i < tensor.bytes().size(); ++i)
        tensor.mutable_bytes()[i] = static_cast<std::byte>(dtype == DType::kBool ? i % 2 : i);
      const std::string bytes = npy_bytes(tensor);
      CHECK((bytes.size() - tensor.bytes().size()) % 64 == 0);
      CHECK(same_bits(read_npy(as_bytes(bytes)), tensor));
      write_npy_file(folder / "a.npy", tensor);
      CHECK(read_text(folder / "a.npy") == bytes);
      CHECK(same_bits(read_npy_file(folder / "a.npy"), tensor));
    }
  }
}

TEST_CASE("a type that NumPy does not have is not written") {
  CHECK_THROWS_WITH_AS(npy_bytes(Tensor::zeros(DType::kBF16, {2})),
                       doctest::Contains("type bf16 cannot be written"), Error);
}

TEST_CASE("an array in Fortran order is turned round") {
  std::vector<float> elements(2 * 3 * 4);
  std::iota(elements.begin(), elements.end(), 0.0F);
  const std::string bytes = npy(header("<f4", "True", "(2, 3, 4)"),
                                std::string(as_text(std::as_bytes(std::span(elements)))));
  const Tensor tensor = read_npy(as_bytes(bytes));
  CHECK(tensor.shape() == Shape{2, 3, 4});
  for (size_t i = 0; i < 2; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      for (size_t k = 0; k < 4; ++k)
        CHECK(tensor.data<float>()[(i * 3 + j) * 4 + k] == static_cast<float>(i + 2 * j + 6 * k));
    }
  }
  CHECK(read_npy(as_bytes(npy(header("<f4", "True", "(2, 0, 4)")))).shape() == Shape{2, 0, 4});
}

TEST_CASE("versions 1 to 3 are read, and the ways in which NumPy has spelled headers") {
  const std::string two(8, '\0');
  for (const char major : {1, 2, 3})
    CHECK(read_npy(as_bytes(npy(header("<f4", "False", "(2,)"), two, major))).shape() == Shape{2});
  for (const std::string text :
       {"{'shape':(2L,),'fortran_order':False,'descr':'<f4'}",
        "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": ( 2 , ) , }   \n"}) {
    CAPTURE(text);
    CHECK(read_npy(as_bytes(npy(text, two))).shape() == Shape{2});
  }
}

TEST_CASE("what a header must not say is refused with the reason") {
  struct Case {
    std::string bytes, text;
  };
  const std::string ok = header("<f4", "False", "(1,)");
  const std::vector<Case> cases{
      {"", "does not start like a .npy"},
      {"\x93NUMP", "does not start like a .npy"},
      {"\x93NUMPY", "version: expected 1 bytes, found 0"},
      {npy(ok, "1234", 4), "version is 4.0"},
      {npy(ok, "123"), "3 bytes of elements, f32 of shape [1] needs 4"},
      {npy(ok, "12345"), "5 bytes of elements, f32 of shape [1] needs 4"},
      {npy(ok, "1234").substr(0, 40), "header: "},
      {npy(header(">f4", "False", "(1,)"), "1234"), "big-endian"},
      {npy(header("|O", "False", "(1,)"), "1234"), "descr is '|O'"},
      {npy(header("<U3", "False", "(1,)"), "1234"), "descr is '<U3'"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "1234"), "record"},
      {npy(header("<f4", "1", "(1,)"), "1234"), "neither True nor False"},
      {npy(header("<f4", "False", "(1)"), "1234"), "expected a tuple"},
      {npy(header("<f4", "False", "1"), "1234"), "expected '('"},
      {npy(header("<f4", "False", "(-1,)"), "1234"), "extent '-1'"},
      {npy(header("<f4", "False", "(1.0,)"), "1234"), "extent '1.0'"},
      {npy(header("<f4", "False", "(99999999999999999999,)")), "extent '99999999999999999999'"},
      {npy(header("<f4", "False", "(4294967296, 4294967296)")), "too many elements"},
      {npy(header("<f4", "False", "(4294967296, 4294967296, 0)")), "too many elements"},
      {npy(header("<f8", "False", "(2305843009213693952,)")), "too large"},
      {npy(header("<f4", "False", "(1, 2"), "1234"), "header: "},
      {npy(header("<f4", "False", "(__import__('os').system('true'),)"), "1234"), "extent '__imp"},
      {npy("{'descr': '<f4', 'fortran_order': False}", "1234"), "a key is missing"},
      {npy("{'descr': '<f4', 'descr': '<f4'}", "1234"), "duplicate key 'descr'"},
      {npy("{'descr': '<f4', 'x\x1b': 1}", "1234"), "unknown key 'x\\x1b'"},
      {npy("{'descr': '<f4\\'', }", "1234"), "plain quotes"},
      {npy(ok + "x", "1234"), "unexpected text"},
      {npy("", "1234"), "expected '{'"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    const std::string error = error_of(c.bytes);
    CAPTURE(error);
    CHECK(error.find(c.text) != std::string::npos);
  }
  std::string deep;
  for (int axis = 0; axis < 65; ++axis) deep += "1, ";
  CHECK(error_of(npy(header("<f4", "False", "(" + deep + ")"), "1234")) ==
        "shape has more than 64 axes");
}

TEST_CASE("errors of files name the file") {
  const TemporaryFolder folder;
  write_text(folder / "a.npy", "x");
  CHECK_THROWS_WITH_AS(read_npy_file(folder / "a.npy"), doctest::Contains("a.npy: does not start"),
                       Error);
  CHECK_THROWS_WITH_AS(read_npy_file(folder / "none.npy"),
                       doctest::Contains("none.npy: cannot be opened"), Error);
}

TEST_CASE("the hostile .npy files get their verdict") {
  const auto cases = shared_path("hostile/cases");
  if (!cases) return;
  CHECK(read_npy_file(*cases / "npy_ok.npy").shape() == Shape{4, 8});
  CHECK_THROWS_WITH_AS(read_npy_file(*cases / "npy_short.npy"), doctest::Contains("108 bytes of"),
                       Error);
  CHECK_THROWS_WITH_AS(read_npy_file(*cases / "npy_wrap.npy"),
                       doctest::Contains("too many elements"), Error);
  CHECK_THROWS_WITH_AS(read_npy_file(*cases / "npy_eval.npy"), doctest::Contains("extent"), Error);
}

}  // namespace
}  // namespace espalier
