#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>

#include <cstdlib>

#include "formats/npy/npy.h"
#include "lib/base/error.h"
#include "tests/support/shared_files.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

Tensor ramp(Shape shape) {
  Tensor tensor = Tensor::zeros(DType::kF32, std::move(shape));
  for (size_t i = 0; i < tensor.count(); ++i)
    tensor.mutable_data<float>()[i] = static_cast<float>(i);
  return tensor;
}

std::map<std::string, Tensor> some_arrays() {
  std::map<std::string, Tensor> arrays;
  arrays["x"] = ramp({3, 5});
  arrays["/encoder/conv.w"] = ramp({70, 1000});
  arrays
      ["gr\xc3\xb6\xc3\x9f"
       "e"] = ramp({});
  arrays["empty"] = ramp({0, 4});
  arrays["mask"] = Tensor::of<bool>({3}, std::array{true, false, true});
  return arrays;
}

// A zip with any members, as other programs might make it.
void write_zip(const fs::path& path,
               const std::vector<std::pair<std::string, std::string>>& members) {
  struct archive* zip = archive_write_new();
  archive_write_set_format_zip(zip);
  REQUIRE(archive_write_open_filename(zip, path.c_str()) == ARCHIVE_OK);
  for (const auto& [name, bytes] : members) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<la_int64_t>(bytes.size()));
    REQUIRE(archive_write_header(zip, entry) == ARCHIVE_OK);
    archive_write_data(zip, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  archive_write_free(zip);
}

std::string error_of(const fs::path& path) {
  try {
    read_npz_file(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("arrays are read back from the .npz they were written to") {
  const TemporaryFolder folder;
  const auto arrays = some_arrays();
  write_npz_file(folder / "a.npz", arrays);
  const auto back = read_npz_file(folder / "a.npz");
  CHECK(back.size() == arrays.size());
  for (const auto& [name, tensor] : arrays) {
    CAPTURE(name);
    REQUIRE(back.contains(name));
    CHECK(same_bits(back.at(name), tensor));
  }
  CHECK(fs::file_size(folder / "a.npz") < 150'000);  // deflated: the ramp alone has 280000 bytes
}

TEST_CASE("the same arrays give the same bytes, in any time zone") {
  const TemporaryFolder folder;
  const char* before = std::getenv("TZ");
  const std::string zone = before == nullptr ? "" : before;
  std::string first;
  for (const char* other : {"UTC", "Pacific/Kiritimati", "America/Los_Angeles"}) {
    setenv("TZ", other, 1);
    tzset();
    write_npz_file(folder / "a.npz", some_arrays());
    if (first.empty()) first = read_text(folder / "a.npz");
    CHECK(read_text(folder / "a.npz") == first);
  }
  before == nullptr ? unsetenv("TZ") : setenv("TZ", zone.c_str(), 1);
  tzset();
}

TEST_CASE("an .npz without arrays is empty") {
  const TemporaryFolder folder;
  write_npz_file(folder / "a.npz", {});
  CHECK(read_npz_file(folder / "a.npz").empty());
}

TEST_CASE("members that are more or less than their header says are refused") {
  const TemporaryFolder folder;
  const std::string x = npy_bytes(ramp({16, 16}));
  write_zip(folder / "a.npz", {{"x.npy", x + "1"}});
  CHECK(has(error_of(folder / "a.npz"), "x: unpacks to more than the 1152 bytes"));
  write_zip(folder / "a.npz", {{"x.npy", x + std::string(10'000'000, '\0')}});
  CHECK(has(error_of(folder / "a.npz"), "x: unpacks to more than the 1152 bytes"));
  write_zip(folder / "a.npz", {{"x.npy", x.substr(0, 1000)}});
  CHECK(has(error_of(folder / "a.npz"),
            "x: 872 bytes of elements, f32 of shape [16, 16] needs 1024"));
}

TEST_CASE(
    "a header that claims more than the file can hold is refused before memory is asked for") {
  const TemporaryFolder folder;
  std::string x = npy_bytes(ramp({1}));
  x.replace(x.find("(1,)"), 4, "(9999999999999,)");
  x.erase(x.find("  "), 12);
  write_zip(folder / "a.npz", {{"x.npy", x}});
  CHECK(has(error_of(folder / "a.npz"),
            "x: f32 of shape [9999999999999] is more than the compressed bytes can unpack to"));
}

TEST_CASE("members that are no arrays, doubles and names with '..' are refused") {
  const TemporaryFolder folder;
  const std::string x = npy_bytes(ramp({2}));
  write_zip(folder / "a.npz", {{"x.npy", x}, {"readme.txt", "x"}});
  CHECK(has(error_of(folder / "a.npz"), "a.npz: readme.txt: is not a .npy array"));
  write_zip(folder / "a.npz", {{"x.npy", x}, {"x.npy", x}});
  CHECK(has(error_of(folder / "a.npz"), "a.npz: x: duplicate member of the archive"));
  write_zip(folder / "a.npz", {{"../x.npy", x}});
  CHECK(has(error_of(folder / "a.npz"), "../x.npy: name has a '..'"));
  write_zip(folder / "a.npz", {{"a/../x.npy", x}});
  CHECK(has(error_of(folder / "a.npz"), "a/../x.npy: name has a '..'"));
  CHECK_THROWS_WITH_AS(write_npz_file(folder / "b.npz", {{"a/../x", ramp({1})}}),
                       doctest::Contains("name has a '..'"), Error);
  CHECK_FALSE(fs::exists(folder / "b.npz"));
}

TEST_CASE("a zip that is cut or damaged is refused") {
  const TemporaryFolder folder;
  write_npz_file(folder / "a.npz", some_arrays());
  const std::string whole = read_text(folder / "a.npz");
  for (size_t size = 0; size < whole.size(); size += 1009) {
    CAPTURE(size);
    write_text(folder / "b.npz", whole.substr(0, size));
    CHECK_FALSE(error_of(folder / "b.npz").empty());
  }
  std::string damaged = whole;
  damaged[damaged.size() / 2] ^= 0x55;
  write_text(folder / "b.npz", damaged);
  CHECK_FALSE(error_of(folder / "b.npz").empty());
}

TEST_CASE("the hostile .npz bomb is refused") {
  const auto bomb = shared_path("hostile/cases/npz_bomb.npz");
  if (!bomb) return;
  CHECK(has(error_of(*bomb), "x: unpacks to more than the 1152 bytes"));
}

}  // namespace
}  // namespace espalier
