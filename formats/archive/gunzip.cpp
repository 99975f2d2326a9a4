#include "formats/archive/gunzip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>
#include <vector>

#include "lib/base/check.h"

namespace espalier {
namespace {

[[noreturn]] void too_much(size_t packed, size_t limit) {
  throw Error(Fault::kFormat,
              fmt::format("{} compressed bytes unpack to more than {} bytes, the limit for a model",
                          packed, limit));
}

// Memory that grows without being touched before it is written.
class Buffer {
 public:
  explicit Buffer(size_t capacity) { grow(capacity); }
  ~Buffer() { std::free(bytes_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void grow(size_t capacity) {
    void* moved = std::realloc(bytes_, capacity);
    if (moved == nullptr) throw std::bad_alloc();
    bytes_ = static_cast<std::byte*>(moved);
    capacity_ = capacity;
  }
  size_t capacity() const { return capacity_; }
  std::byte* data() { return bytes_; }
  std::shared_ptr<const std::byte> release() {
    std::byte* bytes = bytes_;
    bytes_ = nullptr;
    return {bytes, std::free};
  }

 private:
  std::byte* bytes_ = nullptr;
  size_t capacity_ = 0;
};

class Inflater {
 public:
  explicit Inflater(Bytes packed) : packed_(packed) {
    constexpr int kGzipOnly = 15 + 16;
    ESPALIER_CHECK(inflateInit2(&stream_, kGzipOnly) == Z_OK);
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Fills `room` as far as it goes; less than all of it at the end of the file.
  size_t read(std::span<std::byte> room) {
    size_t written = 0;
    while (!done_ && written < room.size()) {
      written += step(room.subspan(written));
    }
    return written;
  }

 private:
  // zlib counts in 32 bits.
  static uInt piece(size_t size) {
    return static_cast<uInt>(std::min<size_t>(size, std::numeric_limits<uInt>::max()));
  }

  size_t step(std::span<std::byte> room) {
    const uInt in = piece(packed_.size()), out = piece(room.size());
    // zlib's interface forgot a const: the input is not written to.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed_.data()));
    stream_.avail_in = in;
    stream_.next_out = reinterpret_cast<Bytef*>(room.data());
    stream_.avail_out = out;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    packed_ = packed_.subspan(in - stream_.avail_in);
    if (result == Z_STREAM_END) {
      next_member();
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      throw Error(Fault::kFormat, fmt::format("gzip data are damaged: {}",
                                              stream_.msg == nullptr ? "?" : stream_.msg));
    } else if (stream_.avail_in == in && stream_.avail_out == out) {
      throw Error(Fault::kFormat, "gzip data end too early: the file was cut (truncated)");
    }
    return out - stream_.avail_out;
  }

  // Zeros after the last member are padding, as gzip itself takes it.
  void next_member() {
    done_ = std::ranges::all_of(packed_, [](std::byte b) { return b == std::byte{0}; });
    if (!done_) inflateReset(&stream_);
  }

  Bytes packed_;
  z_stream stream_{};
  bool done_ = false;
};

// The last four bytes tell the size of the last member, modulo 2^32: a good guess, no promise; of a
// file that was cut they are anything.
size_t claimed_size(Bytes packed) {
  if (packed.size() < 4) return 0;
  ByteReader reader(packed.last(4));
  return reader.get<uint32_t>("size");
}

// Unpacks without keeping anything: tells a bomb, whose claim is true, from a file that was cut.
void check_unpacks_within(Bytes packed, size_t limit) {
  Inflater inflater(packed);
  std::vector<std::byte> scratch(size_t{1} << 16);
  size_t size = 0;
  while (true) {
    const size_t count = inflater.read(scratch);
    size += count;
    if (size > limit) too_much(packed.size(), limit);
    if (count < scratch.size()) return;
  }
}

}  // namespace

Member gunzip(Bytes packed, size_t limit) {
  const size_t claimed = claimed_size(packed);
  if (claimed > limit) check_unpacks_within(packed, limit);
  Inflater inflater(packed);
  Buffer buffer(std::max<size_t>(claimed > limit ? 0 : claimed, 4096));
  size_t size = 0;
  while (true) {
    size += inflater.read({buffer.data() + size, buffer.capacity() - size});
    if (size > limit) too_much(packed.size(), limit);
    if (size < buffer.capacity()) break;
    buffer.grow(std::min(limit + 1, buffer.capacity() + buffer.capacity() / 2));
  }
  const std::shared_ptr<const std::byte> owner = buffer.release();
  return {{owner.get(), size}, owner};
}

}  // namespace espalier
