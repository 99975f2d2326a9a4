#include "lib/tensor/tensor.h"

#include <doctest/doctest.h>

#include <array>
#include <string>

#include "lib/base/error.h"

namespace espalier {
namespace {

TEST_CASE("element counts refuse what does not fit, even beside a zero") {
  CHECK(element_count({}) == 1);
  CHECK(element_count({3, 0, 5}) == 0);
  CHECK(element_count({2, 3, 7}) == 42);
  CHECK_THROWS_AS(element_count({-1}), Error);
  CHECK_THROWS_AS(element_count({int64_t{1} << 32, int64_t{1} << 32}), Error);
  CHECK_THROWS_AS(element_count({int64_t{1} << 32, int64_t{1} << 32, 0}), Error);
  CHECK(byte_count(DType::kI4, {3}) == 2);
  CHECK(byte_count(DType::kF64, {3}) == 24);
  CHECK_THROWS_AS(byte_count(DType::kF64, {int64_t{1} << 61}), Error);
}

TEST_CASE("a tensor checks its bytes") {
  const std::array<std::byte, 12> bytes{};
  CHECK(Tensor(DType::kF32, {3}, bytes, nullptr).count() == 3);
  CHECK_THROWS_WITH_AS(Tensor(DType::kF32, {4}, bytes, nullptr),
                       "12 bytes of data, f32 of shape [4] needs 16", Error);
}

TEST_CASE("zeros are aligned, zero and writable") {
  for (const int64_t count : {0, 1, 7, 100'000}) {
    Tensor tensor = Tensor::zeros(DType::kU8, {count});
    CHECK(reinterpret_cast<uintptr_t>(tensor.bytes().data()) % 64 == 0);
    for (std::byte& b : tensor.mutable_bytes()) {
      if (b != std::byte{0}) FAIL("not zero");
      b = std::byte{1};
    }
  }
}

TEST_CASE("copies share bytes until one is copied for real") {
  const Tensor a = Tensor::of<float>({2}, std::array{1.0F, 2.0F});
  const Tensor b = a;
  CHECK(b.bytes().data() == a.bytes().data());
  Tensor c = a.copy();
  c.mutable_data<float>()[0] = 5;
  CHECK(a.data<float>()[0] == 1);
  CHECK(same_bits(a, b));
  CHECK_FALSE(same_bits(a, c));
  CHECK_FALSE(same_bits(a, a.reshaped({1, 2})));
}

TEST_CASE("unaligned bytes are aligned by a copy, and converted without one") {
  const auto buffer = std::make_shared<std::string>(1, 'x');
  const std::array values{1.5F, -2.5F};
  buffer->append(as_text(std::as_bytes(std::span(values))));
  const Tensor loose(DType::kF32, {2}, as_bytes(*buffer).subspan(1), buffer);
  CHECK(loose.aligned().data<float>()[1] == -2.5F);
  CHECK(to_f32(loose) == std::vector<float>{1.5F, -2.5F});
}

TEST_CASE("numbers of every type become f32 and i64") {
  CHECK(to_f32(Tensor::of<int16_t>({2}, std::array<int16_t, 2>{-3, 4})) ==
        std::vector<float>{-3, 4});
  CHECK(to_f32(Tensor::of<double>({1}, std::array{0.5})) == std::vector<float>{0.5F});
  CHECK(to_i64(Tensor::of<uint8_t>({1}, std::array<uint8_t, 1>{200})) == std::vector<int64_t>{200});
  CHECK(to_i64(Tensor::of<bool>({2}, std::array{true, false})) == std::vector<int64_t>{1, 0});
  CHECK_THROWS_AS(to_i64(Tensor::of<float>({1}, std::array{1.0F})), Error);
  CHECK_THROWS_AS(to_f32(Tensor::zeros(DType::kComplex64, {1})), Error);
}

TEST_CASE("f32 values are rounded to the type that is asked for") {
  const std::vector<float> values{1.0F, -0.0F, 65504.0F, 0x1.004p0F};
  const Tensor half = from_f32(values, DType::kF16, {4});
  CHECK(to_f32(half) == std::vector<float>{1.0F, -0.0F, 65504.0F, 0x1.004p0F});
  const Tensor brain = from_f32(values, DType::kBF16, {2, 2});
  CHECK(to_f32(brain) == std::vector<float>{1.0F, -0.0F, 65536.0F, 1.0F});
  CHECK(to_f32(from_f32(values, DType::kF64, {4})) == values);
  CHECK_THROWS_AS(from_f32(values, DType::kI8, {4}), Error);
}

}  // namespace
}  // namespace espalier
