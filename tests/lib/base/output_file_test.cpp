#include "lib/base/output_file.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
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

// A file that names its data file, as a model does.
void write_pair(const fs::path& target, const std::string& text, const AcceptOutput& accept = {}) {
  OutputFiles files;
  const fs::path data = files.add_data(target);
  files.write(as_bytes(text));
  files.add(target);
  files.write(as_bytes(data.filename().string() + " " + text));
  files.commit(accept, [&] {
    const std::string old = read_text(target);
    const fs::path name = target.parent_path() / old.substr(0, old.find(' '));
    return old.empty() ? std::vector<fs::path>() : std::vector<fs::path>{name};
  });
}

TEST_CASE("a file and its data appear together, the data under a free name") {
  const TemporaryFolder folder;
  const fs::path target = folder / "m.onnx";
  write_text(folder / "m.onnx.data", "of somebody else");
  write_pair(target, "one");
  CHECK(read_text(target) == "m.onnx.1.data one");
  CHECK(read_text(folder / "m.onnx.1.data") == "one");
  write_pair(target, "two");  // while it is made, the data of the old one are still there
  CHECK(read_text(target) == "m.onnx.2.data two");
  write_pair(target, "three");
  CHECK(read_text(target) == "m.onnx.1.data three");
  CHECK(read_text(folder / "m.onnx.data") == "of somebody else");
  CHECK(names_in(folder.path()) == std::set<std::string>{"m.onnx", "m.onnx.data", "m.onnx.1.data"});
}

TEST_CASE("data that nothing was written to are no file") {
  const TemporaryFolder folder;
  OutputFiles files;
  files.add_data(folder / "m");
  files.add(folder / "m");
  files.write(as_bytes("x"));
  CHECK(files.commit());
  CHECK(names_in(folder.path()) == std::set<std::string>{"m"});
}

TEST_CASE("an output that is not accepted changes nothing; it can be read before it is") {
  const TemporaryFolder folder;
  const fs::path target = folder / "m";
  write_pair(target, "old");
  const std::set<std::string> before = names_in(folder.path());
  write_pair(target, "new", [&](const fs::path& written) {
    CHECK(written.parent_path() == target.parent_path());
    CHECK(read_text(written) == "m.1.data new");
    CHECK(read_text(folder / "m.1.data") == "new");
    CHECK(read_text(target) == "m.data old");
    return false;
  });
  CHECK(names_in(folder.path()) == before);
  CHECK(read_text(target) == "m.data old");
  CHECK(read_text(folder / "m.data") == "old");
  CHECK_FALSE(write_folder(
      folder / "d", [](const fs::path& inside) { write_text(inside / "f", "x"); }, kNever,
      [](const fs::path& written) {
        CHECK(read_text(written / "f") == "x");
        return false;
      }));
  CHECK(names_in(folder.path()) == before);
}

TEST_CASE("what a killed run left is removed by the next, what a live one writes is not") {
  const TemporaryFolder folder;
  write_text(folder / ".m.1-0.part", "left");
  write_text(folder / ".m.data.1-0.part", "left");
  write_text(folder / ".other.1-0.part", "of another target");
  write_text(folder / ".m.x.part", "no temporary of ours");
  fs::create_directories(folder / ".m.1-1.part/sub");
  std::vector<std::string> seen;
  const auto see = [&](const fs::path& path) { seen.push_back(path.filename()); };
  OutputFiles live;
  live.add(folder / "m");
  live.write(as_bytes("live"));
  OutputFiles files;
  files.add_data(folder / "m", see);
  files.add(folder / "m", see);
  files.write(as_bytes("new"));
  files.commit();
  CHECK(seen.empty());  // the live one had removed them
  CHECK(names_in(folder.path()).size() == 4);
  live.commit();
  CHECK(read_text(folder / "m") == "live");
  CHECK(names_in(folder.path()) == std::set<std::string>{"m", ".other.1-0.part", ".m.x.part"});
  write_text(folder / ".m.1-0.part", "left");
  OutputFiles third;
  third.add(folder / "m", see);
  CHECK(seen == std::vector<std::string>{".m.1-0.part"});
}

TEST_CASE("a signal waits until files that belong together have their names") {
  const TemporaryFolder folder;
  const int status = in_child([&] {
    remove_outputs_on_signals();
    OutputFiles files;
    files.add_data(folder / "m");
    files.write(as_bytes("data"));
    files.add(folder / "m");
    files.write(as_bytes("m.data"));
    files.commit({}, [] {
      raise(SIGTERM);
      return std::vector<fs::path>();
    });
    _exit(8);  // the signal came at the end of commit() at the latest
  });
  CHECK(WIFSIGNALED(status));
  CHECK(names_in(folder.path()) == std::set<std::string>{"m", "m.data"});
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

TEST_CASE("files inside of a folder that is being written do not wait for its lock") {
  const TemporaryFolder folder;
  const auto start = std::chrono::steady_clock::now();
  write_folder(
      folder / "new",
      [](const fs::path& inside) {
        for (const char* name : {"a", "b"}) write_file(inside / name, as_bytes("text"));
      },
      kNever);
  CHECK(read_text(folder / "new/b") == "text");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));  // a lock waits for 10
}

TEST_CASE("a folder with things in it is replaced only where that is allowed") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "d");
  write_text(folder / "d/old", "old");
  write_text(folder / "file", "old");
  const auto fill = [](const fs::path& inside) { write_text(inside / "new", "new"); };
  CHECK_THROWS_WITH_AS(write_folder(folder / "d", fill, kNever),
                       doctest::Contains("is a folder with other files in it"), Error);
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

TEST_CASE("a kill at any moment never leaves a file beside another's data, or none") {
  const TemporaryFolder folder;
  const fs::path target = folder / "main";
  write_pair(target, "first");
  kill_at_any_moment(
      [&](int i) { write_pair(target, std::to_string(getpid()) + " " + std::to_string(i)); },
      [&] {
        const std::string main = read_text(target);
        const size_t space = main.find(' ');
        REQUIRE(space != std::string::npos);
        CHECK(main.substr(space + 1) == read_text(folder / main.substr(0, space)));
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
