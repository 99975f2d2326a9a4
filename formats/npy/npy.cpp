#include "formats/npy/npy.h"

#include <fmt/format.h>

#include "formats/npy/npy_header.h"
#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"

namespace espalier {
namespace {

// Elements with the first axis running fastest, put into our order.
Tensor from_fortran_order(const NpyHeader& header, Bytes elements) {
  const size_t size = bytes_of(header.dtype), rank = header.shape.size();
  Tensor result = Tensor::zeros(header.dtype, header.shape);
  std::byte* to = result.mutable_bytes().data();
  std::vector<size_t> stride(rank, 1);
  for (size_t axis = 1; axis < rank; ++axis)
    stride[axis] = stride[axis - 1] * static_cast<size_t>(header.shape[axis - 1]);
  std::vector<int64_t> place(rank, 0);
  size_t from = 0;
  for (size_t i = 0; i < result.count(); ++i) {
    std::memcpy(to + i * size, elements.data() + from * size, size);
    for (size_t axis = rank; axis-- > 0;) {
      from += stride[axis];
      if (++place[axis] < header.shape[axis]) break;
      from -= stride[axis] * static_cast<size_t>(header.shape[axis]);
      place[axis] = 0;
    }
  }
  return result;
}

// `owner` keeps the bytes alive; without one they are copied.
Tensor read(Bytes bytes, const std::shared_ptr<const void>& owner) {
  ByteReader reader(bytes);
  const NpyHeader header = read_npy_header(reader);
  const size_t wanted = byte_count(header.dtype, header.shape);
  if (reader.left() != wanted) {
    throw Error(Fault::kFormat,
                fmt::format("{} bytes of elements, {} of shape {} needs {}", reader.left(),
                            name_of(header.dtype), to_string(header.shape), wanted));
  }
  const Bytes elements = reader.rest();
  if (header.fortran_order && header.shape.size() > 1) return from_fortran_order(header, elements);
  const Tensor view(header.dtype, header.shape, elements, owner);
  return owner == nullptr ? view.copy() : view;
}

template <typename Body>
auto naming(const std::filesystem::path& path, const Body& body) {
  try {
    return body();
  } catch (Error& error) {
    error.add_context(printable(path.string()));
    throw;
  }
}

}  // namespace

Tensor read_npy(Bytes bytes) { return read(bytes, nullptr); }

Tensor read_npy_file(const std::filesystem::path& path) {
  return naming(path, [&] {
    const auto file = MappedFile::open(path);
    return read(file->bytes(), file);
  });
}

std::string npy_bytes(const Tensor& tensor) {
  return npy_header(tensor.dtype(), tensor.shape()).append(as_text(tensor.bytes()));
}

void write_npy_file(const std::filesystem::path& path, const Tensor& tensor) {
  OutputFiles file;
  file.add(path);
  file.write(as_bytes(npy_header(tensor.dtype(), tensor.shape())));
  file.write(tensor.bytes());
  file.commit();
}

}  // namespace espalier
