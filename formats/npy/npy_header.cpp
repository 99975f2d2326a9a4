#include "formats/npy/npy_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>

#include "lib/base/checked_math.h"
#include "lib/base/limits.h"

namespace espalier {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kMaxRank = limits::npy_rank;  // NumPy's own limit

struct TypeName {
  std::string_view descr;
  DType dtype;
};

constexpr std::array<TypeName, 17> kTypes{{
    {"<f4", DType::kF32},
    {"<f8", DType::kF64},
    {"<f2", DType::kF16},
    {"|b1", DType::kBool},
    {"|i1", DType::kI8},
    {"|u1", DType::kU8},
    {"<i1", DType::kI8},
    {"<u1", DType::kU8},
    {"<i2", DType::kI16},
    {"<u2", DType::kU16},
    {"<i4", DType::kI32},
    {"<u4", DType::kU32},
    {"<i8", DType::kI64},
    {"<u8", DType::kU64},
    {"<c8", DType::kComplex64},
    {"<c16", DType::kComplex128},
    {"<b1", DType::kBool},
}};

[[noreturn]] void fail(std::string text) { throw Error(Fault::kFormat, std::move(text)); }

DType parse_descr(std::string_view descr) {
  for (const TypeName& type : kTypes) {
    if (type.descr == descr) return type.dtype;
  }
  if (descr.starts_with('>')) {
    throw Error(Fault::kUnsupported,
                fmt::format("descr is '{}': big-endian elements, expected little-endian ones ('<')",
                            printable(descr)));
  }
  throw Error(
      Fault::kUnsupported,
      fmt::format(
          "descr is '{}', expected a float of 2 to 8 bytes, an integer of 1 to 8 bytes or bool",
          printable(descr)));
}

// The header is a Python dictionary of three known entries. It is read as the literal it must be;
// anything else in it is an error.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  NpyHeader parse() {
    expect('{');
    while (!accept('}')) {
      entry();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!text_.empty()) fail("header: unexpected text after the '}'");
    if (!has_descr_ || !has_order_ || !has_shape_)
      fail("header: a key is missing, expected descr, fortran_order and shape");
    return header_;
  }

 private:
  void entry() {
    const std::string_view key = string("a key");
    expect(':');
    if (key == "descr") {
      once(has_descr_, key);
      if (peek() == '[' || peek() == '(')
        throw Error(Fault::kUnsupported, "descr is a record of fields, expected one plain type");
      header_.dtype = parse_descr(string("the type"));
    } else if (key == "fortran_order") {
      once(has_order_, key);
      header_.fortran_order = boolean();
    } else if (key == "shape") {
      once(has_shape_, key);
      header_.shape = tuple();
    } else {
      fail(fmt::format("header: unknown key '{}'", printable(key)));
    }
  }

  void once(bool& seen, std::string_view key) {
    if (seen) fail(fmt::format("header: duplicate key '{}'", key));
    seen = true;
  }

  void skip_space() {
    const size_t first = text_.find_first_not_of(" \t\n\r");
    text_.remove_prefix(first == std::string_view::npos ? text_.size() : first);
  }
  char peek() {
    skip_space();
    return text_.empty() ? '\0' : text_[0];
  }
  bool accept(char wanted) {
    if (peek() != wanted || text_.empty()) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) {
      fail(
          fmt::format("header: expected '{}' before '{}'", wanted, printable(text_.substr(0, 20))));
    }
  }

  std::string_view string(std::string_view what) {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail(fmt::format("header: expected {} in quotes", what));
    const size_t end = text_.find(quote, 1);
    const std::string_view inside = text_.substr(1, end == std::string_view::npos ? 0 : end - 1);
    if (end == std::string_view::npos || inside.find('\\') != std::string_view::npos)
      fail(fmt::format("header: expected {} in plain quotes", what));
    text_.remove_prefix(end + 1);
    return inside;
  }

  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (!text_.starts_with(word)) continue;
      text_.remove_prefix(word.size());
      return word == "True";
    }
    fail("header: fortran_order is neither True nor False");
  }

  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      shape.push_back(extent());
      if (shape.size() > kMaxRank) fail(fmt::format("shape has more than {} axes", kMaxRank));
      if (accept(',')) continue;
      if (shape.size() == 1) fail("header: shape is a number, expected a tuple");
      expect(')');
      break;
    }
    return shape;
  }

  int64_t extent() {
    skip_space();
    const std::string_view word = text_.substr(0, text_.find_first_of(",) \t\n\r"));
    text_.remove_prefix(word.size());
    // Python 2 wrote 3L.
    const std::string_view digits = word.substr(0, word.size() - (word.ends_with('L') ? 1 : 0));
    int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, fault] = std::from_chars(digits.data(), end, value);
    if (fault == std::errc{} && stop == end && value >= 0) return value;
    fail(fmt::format("header: extent '{}' of the shape: expected a number from 0 to 2^63 - 1",
                     printable(word, 60)));
  }

  std::string_view text_;
  NpyHeader header_;
  bool has_descr_ = false, has_order_ = false, has_shape_ = false;
};

}  // namespace

NpyHeader read_npy_header(ByteReader& reader) {
  if (reader.left() < kMagic.size() || as_text(reader.take(kMagic.size(), "magic")) != kMagic)
    fail("does not start like a .npy file (93 'NUMPY')");
  const auto major = reader.get<uint8_t>("version");
  const auto minor = reader.get<uint8_t>("version");
  if (major < 1 || major > 3 || minor != 0) {
    throw Error(Fault::kUnsupported,
                fmt::format("version is {}.{}, expected 1.0, 2.0 or 3.0", major, minor));
  }
  const size_t length =
      major == 1 ? reader.get<uint16_t>("header length") : reader.get<uint32_t>("header length");
  return HeaderParser(as_text(reader.take(length, "header"))).parse();
}

std::string npy_header(DType dtype, const Shape& shape) {
  std::string_view descr;
  for (const TypeName& type : kTypes) {
    if (type.dtype == dtype && descr.empty()) descr = type.descr;
  }
  if (descr.empty()) {
    throw Error(Fault::kUnsupported,
                fmt::format("elements of type {} cannot be written as .npy", name_of(dtype)));
  }
  std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                 descr, fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  const size_t fixed = kMagic.size() + 4;
  text.resize(round_up(fixed + text.size() + 1, 64) - fixed - 1, ' ');
  text += '\n';
  std::string result(kMagic);
  result +=
      {'\1', '\0', static_cast<char>(text.size() & 0xFF), static_cast<char>(text.size() >> 8)};
  return result + text;
}

}  // namespace espalier
