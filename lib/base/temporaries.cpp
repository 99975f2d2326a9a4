#include "lib/base/temporaries.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/output_file.h"

namespace espalier {
namespace {

// A fixed table, because a signal handler can neither allocate nor lock.
enum class State : int { kFree, kClaimed, kInUse };
struct Slot {
  std::atomic<State> state{State::kFree};
  std::array<char, PATH_MAX> path{};
};
std::array<Slot, 64> slots;
static_assert(std::atomic<State>::is_always_lock_free);

size_t claim(const std::string& path) {
  if (path.size() >= PATH_MAX) {
    throw Error(Fault::kFormat, fmt::format("{}: path has {} bytes, expected at most {}",
                                            printable(path), path.size(), PATH_MAX - 1));
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    State free = State::kFree;
    if (!slots[i].state.compare_exchange_strong(free, State::kClaimed)) continue;
    std::memcpy(slots[i].path.data(), path.c_str(), path.size() + 1);
    slots[i].state = State::kInUse;
    return i;
  }
  throw Error(Fault::kUnsupported, fmt::format("{}: more than {} files are being written at a time",
                                               printable(path), slots.size()));
}

// What follows runs in signal handlers: system calls and the stack only. The C library has no
// folder listing that a handler may call, so the kernel is asked directly; an entry holds its
// length at byte 16 and its name from byte 19 on (linux_dirent64).
constexpr int kMaxDepth = 32;

void remove_tree(int folder, const char* name, int depth);

void remove_entries(int folder, int depth) {
  alignas(8) std::array<char, 2048> entries;
  // Removing entries may hide others from the listing that is under way, so it starts over until
  // it comes up empty, or has made no headway for some rounds.
  for (int round = 0; round < 8; ++round) {
    lseek(folder, 0, SEEK_SET);
    bool empty = true;
    for (long size; (size = syscall(SYS_getdents64, folder, entries.data(), entries.size())) > 0;) {
      uint16_t length = 0;
      for (long at = 0; at < size; at += length) {
        std::memcpy(&length, entries.data() + at + 16, sizeof(length));
        const char* name = entries.data() + at + 19;
        if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
        empty = false;
        remove_tree(folder, name, depth + 1);
      }
    }
    if (empty) return;
  }
}

void remove_tree(int folder, const char* name, int depth) {
  if (unlinkat(folder, name, 0) == 0 || (errno != EISDIR && errno != EPERM)) return;
  if (depth > kMaxDepth) return;
  const int inside = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (inside < 0) return;
  remove_entries(inside, depth);
  close(inside);
  unlinkat(folder, name, AT_REMOVEDIR);
}

// The handler stays in place only for this signal: raised again with its usual action, it ends the
// program as that signal when the handler returns.
void remove_and_end(int signal) {
  for (const Slot& slot : slots) {
    if (slot.state == State::kInUse) remove_tree(AT_FDCWD, slot.path.data(), 0);
  }
  raise(signal);
}

std::string name_beside(const std::string& name, size_t number) {
  constexpr size_t kNameLimit = 200;  // with pid and number below the 255 bytes of a name
  return fmt::format(".{}.{}-{}.part", name.substr(0, kNameLimit), getpid(), number);
}

std::filesystem::path unused_beside(const std::filesystem::path& target) {
  static std::atomic<size_t> numbers{0};
  while (true) {
    std::filesystem::path path =
        target.parent_path() / name_beside(target.filename().string(), numbers++);
    std::error_code missing;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, missing))) return path;
  }
}

}  // namespace

Temporary::Temporary(const std::filesystem::path& target)
    : path_(unused_beside(target)), slot_(claim(path_.string())) {}

Temporary::~Temporary() { slots[slot_].state = State::kFree; }

void remove_outputs_on_signals() {
  // Where the size of files is limited, a write that fails is an error like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGXCPU}) {
    struct sigaction now {};
    if (sigaction(number, nullptr, &now) != 0 || now.sa_handler == SIG_IGN) continue;  // nohup
    struct sigaction action {};
    action.sa_handler = remove_and_end;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigfillset(&action.sa_mask);
    sigaction(number, &action, nullptr);
  }
}

}  // namespace espalier
