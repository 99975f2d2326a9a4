#include "lib/base/file_identity.h"

#include <doctest/doctest.h>

#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a file is the same under every spelling and through links") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "sub");
  write_text(folder / "f", "x");
  write_text(folder / "g", "x");
  fs::create_symlink("f", folder / "link");
  fs::create_symlink("link", folder / "link_to_link");
  fs::create_symlink("gone", folder / "broken");
  fs::create_hard_link(folder / "f", folder / "hard");
  fs::create_directory_symlink(folder.path(), folder / "sub/up");
  for (const char* name : {"f", "./f", "sub/../f", "link", "link_to_link", "hard", "sub/up/f"}) {
    CAPTURE(name);
    CHECK(same_file(folder / "f", folder / name));
    CHECK(would_replace(folder / name, folder / "f"));
    CHECK(would_replace(folder / "f", folder / name));
  }
  for (const char* name : {"g", "gone", "broken", "", "f/f"}) {
    CAPTURE(name);
    CHECK_FALSE(same_file(folder / "f", folder / name));
    CHECK_FALSE(would_replace(folder / name / "x", folder / "f"));
  }
  CHECK_FALSE(would_replace("", folder / "f"));
  CHECK_FALSE(would_replace(folder / "new", folder / "f"));
}

TEST_CASE("a folder that is replaced takes away what is below it, and the links too") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "out/deep");
  write_text(folder / "out/deep/f", "x");
  write_text(folder / "f", "x");
  fs::create_symlink("../f", folder / "out/link");
  fs::create_symlink("out/deep/f", folder / "into");
  fs::create_directory_symlink("out", folder / "other");
  CHECK(would_replace(folder / "out", folder / "out/deep/f"));
  CHECK(would_replace(folder / "out/", folder / "into"));
  CHECK(would_replace(folder / "other", folder / "out/deep/f"));
  CHECK(would_replace(folder / "out", folder / "out/link"));
  CHECK(would_replace(folder / "out/deep/..", folder / "out/link"));
  CHECK_FALSE(would_replace(folder / "out", folder / "f"));
  CHECK_FALSE(would_replace(folder / "out/deep", folder / "out/link"));
}

}  // namespace
}  // namespace espalier
