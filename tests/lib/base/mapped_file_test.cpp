#include "lib/base/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

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

}  // namespace
}  // namespace espalier
