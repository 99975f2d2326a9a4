#include <doctest/doctest.h>

#include <numeric>

#include "lib/tensor/tensor.h"

namespace espalier {
namespace {

// A tensor of 0, 1, 2 ... that counts how often it is made.
Tensor counting(size_t& made, Shape shape = {2, 3}) {
  return Tensor::deferred(DType::kF32, shape, [&made, shape] {
    ++made;
    std::vector<float> values(element_count(shape));
    std::iota(values.begin(), values.end(), 0.0F);
    return Tensor::of<float>(shape, values);
  });
}

TEST_CASE("a deferred tensor is made when it is looked at, once, and again after give_back") {
  size_t made = 0;
  const Tensor tensor = counting(made), copy = tensor;
  CHECK(tensor.is_deferred());
  CHECK(tensor.byte_size() == 24);
  CHECK(tensor.count() == 6);
  CHECK(made == 0);
  CHECK(tensor.data<float>()[5] == 5);
  CHECK(copy.bytes().size() == 24);
  CHECK(made == 1);
  copy.give_back();
  copy.give_back();
  CHECK(made == 1);
  CHECK(to_f32(tensor)[4] == 4);
  CHECK(made == 2);
}

TEST_CASE("what is held lasts, and is no longer deferred") {
  size_t made = 0;
  const Tensor tensor = counting(made);
  const Tensor held = tensor.held(), aligned = tensor.aligned(), other = tensor.copy();
  tensor.give_back();
  CHECK_FALSE(held.is_deferred());
  CHECK(held.data<float>()[3] == 3);
  CHECK(aligned.data<float>()[3] == 3);
  CHECK(other.data<float>()[3] == 3);
  CHECK(made == 1);
  CHECK(same_bits(held, tensor));
  const Tensor plain = Tensor::zeros(DType::kF32, {2});
  CHECK(plain.held().bytes().data() == plain.bytes().data());
  plain.give_back();  // no file's: stays
  CHECK(plain.data<float>()[1] == 0);
}

TEST_CASE("a deferred tensor takes other shapes, and may be made of a deferred one") {
  size_t made = 0;
  const Tensor tensor = counting(made);
  const Tensor flat = tensor.reshaped({6});
  CHECK(flat.shape() == Shape{6});
  CHECK(flat.held().shape() == Shape{6});
  const Tensor twice = Tensor::deferred(DType::kF32, {6}, [flat] { return flat; });
  CHECK(twice.data<float>()[2] == 2);
  CHECK(made == 1);
  CHECK(same_bits(as_f32(twice), flat));
}

}  // namespace
}  // namespace espalier
