#include "lib/base/temporaries.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file_sync.h"
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

// How many objects defer signals, and the signal that came meanwhile.
std::atomic<int> deferring{0}, deferred{0};

// The handler stays in place only for this signal: raised again with its usual action, it ends the
// program as that signal when the handler returns.
void remove_and_end(int signal) {
  if (deferring != 0) {
    deferred = signal;
    return;
  }
  for (const Slot& slot : slots) {
    if (slot.state == State::kInUse) remove_tree(AT_FDCWD, slot.path.data(), 0);
  }
  // Below the "^C" or the progress bar of a terminal.
  static constexpr std::string_view kText = "\ninterrupted\n";
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const std::string_view text = kText.substr(terminal ? 0 : 1);
  if (signal == SIGINT) {
    const ssize_t ignored = write(STDERR_FILENO, text.data(), text.size());
    (void)ignored;
  }
  raise(signal);
}

constexpr std::string_view kEnding = ".part";

// What the names of all temporaries of a target begin with.
std::string front_of(const std::filesystem::path& target) {
  constexpr size_t kNameLimit = 200;  // with pid and number below the 255 bytes of a name
  return fmt::format(".{}.", target.filename().string().substr(0, kNameLimit));
}

// Whether `text` is PID-NUMBER.
bool is_pid_and_number(std::string_view text) {
  const size_t dash = text.find('-');
  return dash != 0 && dash != std::string_view::npos && dash + 1 != text.size() &&
         text.find_first_not_of("0123456789-") == std::string_view::npos &&
         text.find('-', dash + 1) == std::string_view::npos;
}

bool is_temporary_of(std::string_view name, std::string_view front) {
  return name.starts_with(front) && name.ends_with(kEnding) &&
         name.size() > front.size() + kEnding.size() &&
         is_pid_and_number(name.substr(front.size(), name.size() - front.size() - kEnding.size()));
}

std::vector<std::filesystem::path> temporaries_of(const std::filesystem::path& target) {
  const std::string front = front_of(target);
  const std::filesystem::path folder = target.parent_path();
  std::vector<std::filesystem::path> found;
  std::error_code fault;
  for (std::filesystem::directory_iterator i(folder.empty() ? "." : folder, fault), end;
       !fault && i != end; i.increment(fault)) {
    const std::string name = i->path().filename().string();
    if (is_temporary_of(name, front)) found.push_back(folder / name);
  }
  return found;
}

std::filesystem::path unused_beside(const std::filesystem::path& target) {
  static std::atomic<size_t> numbers{0};
  while (true) {
    std::filesystem::path path = target.parent_path() / fmt::format("{}{}-{}{}", front_of(target),
                                                                    getpid(), numbers++, kEnding);
    std::error_code missing;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path, missing))) return path;
  }
}

// Nobody holds what can be locked: its writer has ended.
bool is_left_behind(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) return false;
  const bool locked = ::flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  ::close(descriptor);
  return locked;
}

}  // namespace

Temporary::Temporary(const std::filesystem::path& target)
    : path_(unused_beside(target)), slot_(claim(path_.string())) {}

Temporary::Temporary(Exactly exactly)
    : path_(std::move(exactly.path)), slot_(claim(path_.string())) {}

Temporary::~Temporary() { slots[slot_].state = State::kFree; }

// A folder that is itself a temporary one is held by its writer already (HeldFolder), which is this
// program: waiting for it would be waiting for oneself.
FolderLock::FolderLock(const std::filesystem::path& folder)
    : descriptor_(is_temporary(folder) ? -1
                                       : ::open(folder.empty() ? "." : folder.c_str(),
                                                O_RDONLY | O_CLOEXEC | O_DIRECTORY)) {
  if (descriptor_ < 0) return;             // who writes there says what is wrong
  constexpr timespec kStep{0, 5'000'000};  // 5 ms
  for (int i = 0; i < 2000; ++i) {
    held_ = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
    if (held_ || (errno != EWOULDBLOCK && errno != EINTR)) return;
    ::nanosleep(&kStep, nullptr);
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void hold(int descriptor) { static_cast<void>(::flock(descriptor, LOCK_EX | LOCK_NB)); }

void remove_left_behind(const std::filesystem::path& target, const FolderLock& lock,
                        const std::function<void(const std::filesystem::path&)>& before) {
  if (!lock.held()) return;
  std::error_code ignored;
  for (const std::filesystem::path& path : temporaries_of(target)) {
    if (!is_left_behind(path)) continue;
    if (before) before(path);
    std::filesystem::remove_all(path, ignored);
  }
}

bool has_temporary(const std::filesystem::path& target) { return !temporaries_of(target).empty(); }

bool is_temporary(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with('.') || !name.ends_with(kEnding)) return false;
  const size_t dot = name.rfind('.', name.size() - kEnding.size() - 1);
  return dot != std::string::npos && dot != 0 && is_temporary_of(name, name.substr(0, dot + 1));
}

SignalsDeferred::SignalsDeferred() { ++deferring; }

SignalsDeferred::~SignalsDeferred() {
  if (--deferring != 0) return;
  if (const int signal = deferred.exchange(0); signal != 0) remove_and_end(signal);
}

HeldFolder::HeldFolder(const std::filesystem::path& target) : temporary_(target) {
  const FolderLock lock(target.parent_path());
  remove_left_behind(target, lock);
  if (::mkdir(path().c_str(), 0777) != 0) throw_errno(target, "cannot be written");
  descriptor_ = ::open(path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW);
  if (descriptor_ >= 0) hold(descriptor_);
}

HeldFolder::~HeldFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path(), ignored);
  if (descriptor_ >= 0) ::close(descriptor_);
}

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
