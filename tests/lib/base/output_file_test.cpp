#include "lib/base/output_file.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "lib/base/error.h"
#include "tests/support/temporary_folder.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

const auto kNever = [](const fs::path&) { return false; };
const auto kAlways = [](const fs::path&) { return true; };

// Runs `work` in a child process; its wait status.
int in_child(const std::function<void()>& work) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      work();
    } catch (const std::exception&) {
      _exit(9);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_CASE("a file appears under its name only when it is committed") {
  const TemporaryFolder folder;
  write_text(folder / "m.onnx", "old");
  OutputFiles files;
  files.add(folder / "m.onnx");
  files.write(as_bytes("new "));
  files.write(as_bytes("text"));
  CHECK(read_text(folder / "m.onnx") == "old");
  CHECK(names_in(folder.path()).size() == 2);
  files.commit();
  CHECK(read_text(folder / "m.onnx") == "new text");
  CHECK(names_in(folder.path()) == std::set<std::string>{"m.onnx"});
}

TEST_CASE("small and large pieces are written in order") {
  const TemporaryFolder folder;
  std::string expected;
  OutputFiles files;
  files.add(folder / "f");
  for (const size_t size : {1, 65535, 65536, 3, 200000, 7, 65530, 6, 1}) {
    const std::string piece(size, static_cast<char>('a' + size % 26));
    files.write(as_bytes(piece));
    expected += piece;
  }
  files.commit();
  CHECK(read_text(folder / "f") == expected);
}

TEST_CASE("what is not committed leaves nothing and changes nothing") {
  const TemporaryFolder folder;
  write_text(folder / "b", "old");
  {
    OutputFiles files;
    files.add(folder / "a");
    files.write(as_bytes("x"));
    files.add(folder / "b");
    files.write(as_bytes("y"));
  }
  CHECK(names_in(folder.path()) == std::set<std::string>{"b"});
  CHECK(read_text(folder / "b") == "old");
}

TEST_CASE("two files appear together") {
  const TemporaryFolder folder;
  write_text(folder / "m.onnx", "old");
  OutputFiles files;
  files.add(folder / "m.onnx.data");
  files.write(as_bytes("data"));
  files.add(folder / "m.onnx");
  files.write(as_bytes("model"));
  files.commit();
  CHECK(read_text(folder / "m.onnx.data") == "data");
  CHECK(read_text(folder / "m.onnx") == "model");
  CHECK(names_in(folder.path()).size() == 2);
}

TEST_CASE("a link is replaced, what it leads to stays") {
  const TemporaryFolder folder;
  write_text(folder / "precious", "old");
  fs::create_symlink("precious", folder / "link");
  write_file(folder / "link", as_bytes("new"));
  CHECK(read_text(folder / "precious") == "old");
  CHECK(read_text(folder / "link") == "new");
  CHECK_FALSE(fs::is_symlink(folder / "link"));
}

TEST_CASE("targets that are no plain files are refused") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH_AS(write_file(folder.path(), {}), doctest::Contains("is a folder"), Error);
  CHECK_THROWS_WITH_AS(write_file(folder / "", {}), doctest::Contains("is a folder"), Error);
  CHECK_THROWS_WITH_AS(write_file("/dev/null", {}), doctest::Contains("is a device"), Error);
  CHECK_THROWS_WITH_AS(write_file("/dev/stdout", {}), doctest::Contains("is a device"), Error);
  CHECK_THROWS_WITH_AS(write_file(folder / "none/m.onnx", {}),
                       doctest::Contains("none/m.onnx: cannot be written: No such file"), Error);
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH_AS(write_file(folder / "pipe", {}), doctest::Contains("is a device or a pipe"),
                       Error);
}

TEST_CASE("a full disk is an error that names the target, and leaves the old file") {
  const TemporaryFolder folder;
  write_text(folder / "m", "old");
  const int status = in_child([&] {
    remove_outputs_on_signals();
    const rlimit limit{1000, 1000};  // of the size of files: fails like a full disk
    setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file(folder / "m", as_bytes(std::string(5000, 'x')));
    } catch (const Error& error) {
      const std::string text = error.what();
      _exit(text.find("m: cannot be written: File too large") == std::string::npos ? 1 : 42);
    }
  });
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(names_in(folder.path()) == std::set<std::string>{"m"});
  CHECK(read_text(folder / "m") == "old");
}

TEST_CASE("a very long name still has room for a temporary beside it") {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  write_file(folder / name, as_bytes("x"));
  CHECK(read_text(folder / name) == "x");
}

TEST_CASE("a signal removes unfinished files and folders and ends the program as that signal") {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    const TemporaryFolder folder;
    write_text(folder / "m", "old");
    const int status = in_child([&] {
      remove_outputs_on_signals();
      OutputFiles files;
      files.add(folder / "m");
      files.write(as_bytes(std::string(100000, 'x')));
      write_folder(
          folder / "d",
          [&](const fs::path& inside) {
            fs::create_directories(inside / "a/b");
            for (int i = 0; i < 300; ++i) write_text(inside / ("a/b/" + std::to_string(i)), "x");
            raise(number);
          },
          kNever);
    });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == number);
    CHECK(names_in(folder.path()) == std::set<std::string>{"m"});
    CHECK(read_text(folder / "m") == "old");
  }
}

TEST_CASE("a folder appears whole, and replaces an empty one") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "empty");
  for (const std::string target : {"new", "slash/", "./empty"}) {
    write_folder(
        folder / target,
        [&](const fs::path& inside) {
          CHECK(fs::is_empty(inside));
          fs::create_directory(inside / "sub");
          write_text(inside / "sub/f", "text");
        },
        kNever);
    CHECK(read_text(folder / target / "sub/f") == "text");
  }
  CHECK(names_in(folder.path()) == std::set<std::string>{"new", "slash", "empty"});
}

TEST_CASE("a folder with things in it is replaced only where that is allowed") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "d");
  write_text(folder / "d/old", "old");
  write_text(folder / "file", "old");
  const auto fill = [](const fs::path& inside) { write_text(inside / "new", "new"); };
  CHECK_THROWS_WITH_AS(write_folder(folder / "d", fill, kNever),
                       doctest::Contains("is a folder with other things in it"), Error);
  CHECK_THROWS_WITH_AS(write_folder(folder / "file", fill, kAlways), doctest::Contains("is a file"),
                       Error);
  CHECK(read_text(folder / "d/old") == "old");
  write_folder(folder / "d", fill, kAlways);
  CHECK(names_in(folder / "d") == std::set<std::string>{"new"});
  CHECK(names_in(folder.path()) == std::set<std::string>{"d", "file"});
}

TEST_CASE("a folder whose filling fails is removed, the old one stays") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "d");
  write_text(folder / "d/old", "old");
  const auto fail = [](const fs::path& inside) {
    write_text(inside / "new", "new");
    throw Error(Fault::kFormat, "no");
  };
  CHECK_THROWS_AS(write_folder(folder / "d", fail, kAlways), Error);
  CHECK(names_in(folder.path()) == std::set<std::string>{"d"});
  CHECK(read_text(folder / "d/old") == "old");
}

TEST_CASE("a link to a folder is replaced, the folder stays") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "real");
  write_text(folder / "real/old", "old");
  fs::create_directory_symlink("real", folder / "link");
  write_folder(
      folder / "link", [](const fs::path& inside) { write_text(inside / "new", "new"); }, kAlways);
  CHECK(read_text(folder / "real/old") == "old");
  CHECK(names_in(folder / "link") == std::set<std::string>{"new"});
}

// Kills a child that writes again and again, after a time that differs from round to round.
template <typename Write, typename Check>
void kill_at_any_moment(const Write& write, const Check& check) {
  for (int round = 0; round < 60; ++round) {
    const pid_t child = fork();
    REQUIRE(child >= 0);  // -1 would be everybody, below
    if (child == 0) {
      try {
        for (int i = 0;; ++i) write(i);
      } catch (const std::exception&) {
        _exit(9);
      }
    }
    usleep(static_cast<useconds_t>(500 + round * 97));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    check();
  }
}

TEST_CASE("a kill at any moment leaves a whole file or none") {
  const TemporaryFolder folder;
  write_text(folder / "m", std::string(70000, 'o'));
  kill_at_any_moment(
      [&](int i) {
        write_file(folder / "m", as_bytes(std::string(70000, static_cast<char>('a' + i % 26))));
      },
      [&] {
        const std::string text = read_text(folder / "m");
        CHECK(text.size() == 70000);
        CHECK(std::ranges::count(text, text[0]) == 70000);
      });
}

TEST_CASE("a kill at any moment never leaves a file beside another's data") {
  const TemporaryFolder folder;
  kill_at_any_moment(
      [&](int i) {
        const std::string text = std::to_string(getpid()) + " " + std::to_string(i);
        OutputFiles files;
        files.add(folder / "data");
        files.write(as_bytes(text));
        files.add(folder / "main");
        files.write(as_bytes(text));
        files.commit();
      },
      [&] {
        const std::string main = read_text(folder / "main");
        if (!main.empty()) CHECK(main == read_text(folder / "data"));
      });
}

TEST_CASE("a kill at any moment leaves a whole folder or none") {
  const TemporaryFolder folder;
  kill_at_any_moment(
      [&](int i) {
        const std::string text = std::to_string(getpid()) + " " + std::to_string(i);
        write_folder(
            folder / "d",
            [&](const fs::path& inside) {
              for (const char* name : {"a", "b", "c"}) write_text(inside / name, text);
            },
            kAlways);
      },
      [&] {
        if (!fs::exists(folder / "d")) return;
        CHECK(names_in(folder / "d") == std::set<std::string>{"a", "b", "c"});
        CHECK(read_text(folder / "d/a") == read_text(folder / "d/b"));
        CHECK(read_text(folder / "d/a") == read_text(folder / "d/c"));
        CHECK_FALSE(read_text(folder / "d/a").empty());
      });
}

}  // namespace
}  // namespace espalier
