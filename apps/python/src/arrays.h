#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "lib/c/kernels/espalier_kernels.h"

namespace espalier::python {

/// An array that is read where it lies: C order, in memory of the processor.
using Input = nanobind::ndarray<nanobind::ro, nanobind::c_contig, nanobind::device::cpu>;
/// One that is written.
using Output = nanobind::ndarray<nanobind::c_contig, nanobind::device::cpu>;
using Array = nanobind::ndarray<nanobind::numpy>;

std::string_view name_of_type(espalier_type type);  ///< "f32"; "another type" for -1
/// -1 where espalier has no such type.
espalier_type type_of(nanobind::dlpack::dtype dtype);
/// Of a NumPy array with elements of that type. NumPy has no bf16: its bits, as u16.
nanobind::dlpack::dtype dtype_of_type(espalier_type type);
size_t bytes_of_type(espalier_type type);

/// Memory that an array will own, aligned to 64 bytes.
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  std::byte* data() const { return data_.get(); }
  /// The array of these elements; the buffer is empty then.
  nanobind::object array(espalier_type type, const std::vector<size_t>& shape);

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte[], Free> data_;
};

}  // namespace espalier::python
