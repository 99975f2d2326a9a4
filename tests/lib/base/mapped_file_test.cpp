#include "lib/base/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <vector>

#include "lib/base/error.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a file is mapped, also an empty one, and outlives its name") {
  const TemporaryFolder folder;
  write_text(folder / "f", "text");
  write_text(folder / "empty", "");
  const auto file = MappedFile::open(folder / "f");
  fs::remove(folder / "f");
  CHECK(as_text(file->bytes()) == "text");
  CHECK(MappedFile::open(folder / "empty")->bytes().empty());
}

TEST_CASE("what is no plain file is refused without waiting for it") {
  const TemporaryFolder folder;
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH_AS(MappedFile::open(folder / "pipe"), "is not a regular file", Error);
  CHECK_THROWS_WITH_AS(MappedFile::open("/dev/zero"), "is not a regular file", Error);
  CHECK_THROWS_WITH_AS(MappedFile::open(folder.path()), "is a folder, expected a file", Error);
  CHECK_THROWS_WITH_AS(MappedFile::open(folder / "none"), doctest::Contains("cannot be opened"),
                       Error);
}

TEST_CASE("nothing leads out of a model's folder") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "model/sub");
  write_text(folder / "secret", "secret");
  write_text(folder / "model/sub/w", "weight");
  fs::create_symlink("../secret", folder / "model/link");
  fs::create_directory_symlink("..", folder / "model/up");
  const auto open = [&](const char* name) {
    return MappedFile::open_below(folder / "model", name);
  };
  CHECK(as_text(open("sub/w")->bytes()) == "weight");
  CHECK(as_text(open("./sub/./w")->bytes()) == "weight");
  for (const char* bad : {"../secret", "sub/../../secret", "sub/../sub/w", "link", "up/secret",
                          "/etc/passwd", "", "sub", "sub/w/x", "none"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(open(bad), Error);
  }
}

// Pages of files that this process has in memory, as Linux counts them.
size_t resident_file_pages() {
  std::ifstream file("/proc/self/statm");
  size_t size = 0, resident = 0, shared = 0;
  file >> size >> resident >> shared;
  return shared;
}

TEST_CASE("pages of a file are given back, and come back as they were") {
  constexpr size_t kBytes = size_t{8} << 20, kPages = kBytes / 4096;
  const TemporaryFolder folder;
  std::string text(kBytes, 'x');
  text[kBytes / 2] = 'y';
  write_text(folder / "f", text);
  const auto file = MappedFile::open(folder / "f");
  const size_t before = resident_file_pages();
  CHECK(as_text(file->bytes()) == text);
  CHECK(resident_file_pages() >= before + kPages / 2);
  MappedFile::give_back(file->bytes().subspan(1, kBytes - 2));  // whole pages inside of it
  CHECK(resident_file_pages() < before + kPages / 4);
  CHECK(as_text(file->bytes()) == text);
  // Memory that is no file's keeps what is in it.
  std::vector<std::byte> own(kBytes, std::byte{7});
  MappedFile::give_back(own);
  CHECK(std::ranges::all_of(own, [](std::byte b) { return b == std::byte{7}; }));
  MappedFile::give_back({});
}

}  // namespace
}  // namespace espalier
