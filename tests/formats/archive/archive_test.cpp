#include "formats/archive/archive.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "lib/base/error.h"
#include "tests/support/shared_files.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using Members = std::vector<std::pair<std::string, std::string>>;

const auto kNever = [](const fs::path&) { return false; };

void write(const fs::path& target, const Members& members) {
  write_archive(
      target,
      [&](const AddMember& add) {
        for (const auto& [name, text] : members) {
          const size_t cut = text.size() / 3;
          add(name, {as_bytes(text).first(cut), as_bytes(text).subspan(cut)});
        }
      },
      kNever);
}

std::string text_of(const Archive& archive, const std::string& name) {
  return std::string(as_text(archive.read(name).bytes));
}

// One 512-byte header of a tar, and its data.
std::string tar_member(const std::string& name, char type, const std::string& data,
                       const std::string& link = "") {
  std::string header(512, '\0');
  const auto put = [&](size_t at, const std::string& text) {
    header.replace(at, text.size(), text);
  };
  put(0, name);
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", data.size()));
  put(136, "00000000000");
  put(148, "        ");
  header[156] = type;
  put(157, link);
  put(257, std::string("ustar\0", 6) + "00");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return header + data + std::string((512 - data.size() % 512) % 512, '\0');
}

const std::string kEnd(1024, '\0');

std::string error_of(const fs::path& path) {
  try {
    const Archive archive(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string error_of_tar(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text(folder / "a.tar", bytes);
  return error_of(folder / "a.tar");
}

const Members kMembers{{"graph.nnef", "version 1.0;\n"},
                       {"empty.dat", ""},
                       {"layer/one/w.dat", std::string(70000, 'w')},
                       {std::string(150, 'n') + "/" + std::string(120, 'm'), "long"},
                       {"gr\xc3\xb6\xc3\x9f"
                        "e.dat",
                        "not ASCII"},
                       {"exact.dat", std::string(512, 'e')}};

TEST_CASE("what is written as folder, tar or tgz is read back member by member") {
  for (const std::string name : {"net", "net.tar", "net.nnef.tgz", "net.tar.gz"}) {
    CAPTURE(name);
    const TemporaryFolder folder;
    write(folder / name, kMembers);
    CHECK(archive_kind(folder / name) == archive_kind_for_output(name));
    const Archive archive(folder / name);
    CHECK(archive.kind() == archive_kind_for_output(name));
    CHECK(archive.names().size() == kMembers.size());
    for (const auto& [member, text] : kMembers) {
      CAPTURE(member);
      CHECK(archive.contains(member));
      CHECK(text_of(archive, member) == text);
    }
    CHECK(text_of(archive, "./layer//one/./w.dat") == std::string(70000, 'w'));
    CHECK_FALSE(archive.contains("none.dat"));
    CHECK_THROWS_WITH_AS(archive.read("none.dat"), doctest::Contains("none.dat: "), Error);
    CHECK_THROWS_WITH_AS(archive.read("../x"), doctest::Contains("has a '..'"), Error);
    CHECK_THROWS_WITH_AS(archive.read("/etc/passwd"), doctest::Contains("is absolute"), Error);
  }
}

TEST_CASE("the same members give the same bytes") {
  for (const std::string name : {"a.tar", "a.tgz"}) {
    const TemporaryFolder folder;
    write(folder / name, kMembers);
    const std::string first = read_text(folder / name);
    fs::remove(folder / name);
    write(folder / name, kMembers);
    CHECK(read_text(folder / name) == first);
    if (name == "a.tgz") CHECK(first.substr(4, 4) == std::string(4, '\0'));  // gzip's date
  }
}

TEST_CASE("members keep their bytes alive when the archive is gone") {
  const TemporaryFolder folder;
  for (const std::string name : {"net", "net.tar", "net.tgz"}) {
    write(folder / name, {{"a", "text"}});
    const Member member = Archive(folder / name).read("a");
    CHECK(as_text(member.bytes) == "text");
  }
}

TEST_CASE("an archive that is not finished leaves nothing") {
  for (const std::string name : {"net", "net.tar", "net.tgz"}) {
    const TemporaryFolder folder;
    CHECK_THROWS_AS(write_archive(
                        folder / name,
                        [](const AddMember& add) {
                          add("a", {as_bytes("x")});
                          throw Error(Fault::kFormat, "no");
                        },
                        kNever),
                    Error);
    CHECK(fs::is_empty(folder.path()));
  }
}

TEST_CASE("names that could not be read back are not written") {
  for (const std::string name : {"net", "net.tar"}) {
    const TemporaryFolder folder;
    for (const std::string bad : {"../a", "/a", "", "a/../b"})
      CHECK_THROWS_WITH_AS(write(folder / name, {{bad, "x"}}),
                           doctest::Contains("cannot be a name in an archive"), Error);
    CHECK_THROWS_WITH_AS(write(folder / name, {{"a", "x"}, {"./a", "y"}}),
                         doctest::Contains("a: cannot be a name in an archive: it is already used"),
                         Error);
  }
}

TEST_CASE("a tar that cannot be written is an error that names it") {
  CHECK_THROWS_WITH_AS(write("/nowhere/net.tar", {{"a", "x"}}),
                       doctest::Contains("/nowhere/net.tar: cannot be written"), Error);
}

TEST_CASE("folders in a tar are skipped, names are tidied") {
  const TemporaryFolder folder;
  write_text(folder / "a.tar",
             tar_member("./", '5', "") + tar_member("./w.dat", '0', "text") + kEnd);
  const Archive archive(folder / "a.tar");
  CHECK(archive.names() == std::vector<std::string>{"w.dat"});
  CHECK(text_of(archive, "w.dat") == "text");
}

TEST_CASE("members that lead out of the archive are refused by name") {
  CHECK(error_of_tar(tar_member("../evil", '0', "x") + kEnd) ==
        "../evil: name has a '..', expected a path inside the model's folder");
  CHECK(error_of_tar(tar_member("/etc/x", '0', "x") + kEnd).find("/etc/x: name is absolute") == 0);
  CHECK(error_of_tar(tar_member("w", '2', "", "/etc/passwd") + kEnd) ==
        "w: is a link, expected a plain file");
  CHECK(error_of_tar(tar_member("v", '0', "x") + tar_member("w", '1', "", "v") + kEnd) ==
        "w: is a link, expected a plain file");
  CHECK(error_of_tar(tar_member("w", '3', "") + kEnd) == "w: is a device, expected a plain file");
  CHECK(error_of_tar(tar_member("w", '6', "") + kEnd) == "w: is a device, expected a plain file");
  CHECK(error_of_tar(tar_member("w", '0', "x") + tar_member("./w", '0', "y") + kEnd) ==
        "./w: duplicate member of the archive");
}

TEST_CASE("a tar that was cut is refused, wherever it was cut") {
  const std::string whole = tar_member("a", '0', std::string(700, 'a')) +
                            tar_member("b", '0', std::string(1024, 'b')) + kEnd;
  CHECK(error_of_tar(whole).empty());
  for (size_t size = 300; size < whole.size() - 1024; size += 53) {
    CAPTURE(size);
    CHECK_FALSE(error_of_tar(whole.substr(0, size)).empty());
  }
  CHECK(error_of_tar(whole.substr(0, whole.size() - 1024)).find("ends too early") !=
        std::string::npos);
}

TEST_CASE("a tgz that was cut or damaged is refused") {
  const TemporaryFolder folder;
  write(folder / "a.tgz", kMembers);
  const std::string whole = read_text(folder / "a.tgz");
  for (size_t size = 2; size < whole.size(); size += 29) {
    CAPTURE(size);
    write_text(folder / "b.tgz", whole.substr(0, size));
    CHECK(error_of(folder / "b.tgz").find("the file was cut (truncated)") != std::string::npos);
  }
  std::string damaged = whole;
  damaged[whole.size() - 6] ^= 1;  // the checksum
  write_text(folder / "b.tgz", damaged);
  CHECK(error_of(folder / "b.tgz").find("gzip data are damaged") == 0);
  write_text(folder / "b.tgz", whole + "garbage");
  CHECK_FALSE(error_of(folder / "b.tgz").empty());
  write_text(folder / "b.tgz", whole + std::string(100, '\0'));
  CHECK(error_of(folder / "b.tgz").empty());
}

TEST_CASE("a tgz that was cut is no bomb, whatever size its last bytes seem to tell") {
  const TemporaryFolder folder;
  std::string noise(size_t{1} << 20, '\0');  // deflate leaves it as it is
  uint32_t state = 1;
  for (char& c : noise) c = static_cast<char>((state = 1664525 * state + 1013904223) >> 24);
  write(folder / "a.tgz", {{"w.dat", noise}});
  std::string cut = read_text(folder / "a.tgz").substr(0, 600'000);
  cut.replace(cut.size() - 4, 4, "\xff\xff\xff\xff");
  write_text(folder / "b.tgz", cut);
  CHECK(error_of(folder / "b.tgz").find("the file was cut (truncated)") != std::string::npos);
}

TEST_CASE("what is no archive is refused") {
  const TemporaryFolder folder;
  for (const std::string text : {"", "x", "version 1.0;\n"}) {
    write_text(folder / "f", text);
    CHECK_FALSE(archive_kind(folder / "f").has_value());
    CHECK(error_of(folder / "f").find("is not an archive") == 0);
  }
  CHECK_FALSE(archive_kind(folder / "none").has_value());
  CHECK(error_of(folder / "none").find("cannot be opened") == 0);
}

TEST_CASE("a model of 95 % zeros unpacks, a bomb does not") {
  const TemporaryFolder folder;
  std::string sparse(40'000'000, '\0');
  for (size_t i = 0; i < sparse.size(); i += 20) sparse[i] = static_cast<char>(i * 7919 >> 3);
  write(folder / "sparse.tgz", {{"w.dat", sparse}});
  CHECK(Archive(folder / "sparse.tgz").read("w.dat").bytes.size() == sparse.size());
  write(folder / "bomb.tgz", {{"w.dat", std::string(150'000'000, '\0')}});
  CHECK(error_of(folder / "bomb.tgz").find("compressed bytes unpack to more than") !=
        std::string::npos);
  // The same with a size at its end that lies.
  std::string liar = read_text(folder / "bomb.tgz");
  liar.replace(liar.size() - 4, 4, std::string(4, '\1'));
  write_text(folder / "bomb.tgz", liar);
  CHECK(error_of(folder / "bomb.tgz").find("compressed bytes unpack to more than") !=
        std::string::npos);
}

TEST_CASE("in a folder, links are refused and only plain files are listed") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "sub");
  write_text(folder / "sub/w.dat", "text");
  fs::create_symlink("/etc/passwd", folder / "link.dat");
  fs::create_directory_symlink("sub", folder / "other");
  const Archive archive(folder.path());
  CHECK(archive.names() == std::vector<std::string>{"sub/w.dat"});
  CHECK(text_of(archive, "sub/w.dat") == "text");
  CHECK_THROWS_WITH_AS(archive.read("link.dat"), doctest::Contains("symbolic link"), Error);
  CHECK_THROWS_WITH_AS(archive.read("other/w.dat"), doctest::Contains("symbolic link"), Error);
}

TEST_CASE("the hostile archives get their verdict") {
  const auto cases = shared_path("hostile/cases");
  if (!cases) return;
  for (const std::string good : {"good_tar.tar", "good_tgz.tgz", "good_nnef"}) {
    CAPTURE(good);
    const Archive archive(*cases / good);
    CHECK(archive.names() ==
          std::vector<std::string>{"b1.dat", "b2.dat", "graph.nnef", "w1.dat", "w2.dat"});
    CHECK(archive.read("w1.dat").bytes.size() == 640);
  }
  CHECK(error_of(*cases / "tar_dotdot.tar").find("../evil.dat: name has a '..'") == 0);
  CHECK(error_of(*cases / "tar_symlink.tar").find("w1.dat: is a link") == 0);
  CHECK_FALSE(error_of(*cases / "tar_cut.tar").empty());
  CHECK(error_of(*cases / "tgz_bomb.tgz").find("unpack to more than") != std::string::npos);
}

}  // namespace
}  // namespace espalier
