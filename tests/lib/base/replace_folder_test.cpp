#include "lib/base/replace_folder.h"

#include <doctest/doctest.h>

#include "lib/base/error.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

TEST_CASE("two folders change places, at once or in two steps") {
  for (const auto replace : {replace_folder, replace_folder_in_two_steps}) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "made");
    fs::create_directory(folder / "target");
    write_text(folder / "made/f", "new");
    write_text(folder / "target/f", "old");
    replace(folder / "made", folder / "target");
    CHECK(read_text(folder / "target/f") == "new");
    CHECK(read_text(folder / "made/f") == "old");
    CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 2);
  }
}

TEST_CASE("a folder that cannot take the other's place leaves it where it was") {
  for (const auto replace : {replace_folder, replace_folder_in_two_steps}) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "target");
    write_text(folder / "target/f", "old");
    CHECK_THROWS_AS(replace(folder / "none", folder / "target"), Error);
    CHECK(read_text(folder / "target/f") == "old");
    CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
  }
}

}  // namespace
}  // namespace espalier
