#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/mapped_file.h"
#include "lib/base/output_file.h"

namespace espalier {

enum class ArchiveKind { kFolder, kTar, kTgz };

/// By content: a folder, "ustar" at its place, gzip's magic. Nothing for everything else, and where
/// nothing can be read.
std::optional<ArchiveKind> archive_kind(const std::filesystem::path& path);
std::optional<ArchiveKind> archive_kind(Bytes bytes);

/// Bytes and what keeps them alive.
struct Member {
  Bytes bytes;
  std::shared_ptr<const void> owner;
};

/// A folder, tar or tgz seen as named byte spans. A folder's files are mapped when they are asked
/// for; a tar is mapped whole, its members are spans of it; a tgz is unpacked into memory, at most
/// to unpacked_limit().
///
/// Names  relative, '/' between parts, without "." parts ("./a//b" is "a/b").
/// Errors  Fault::kFormat naming the member: an absolute name or one with "..", a link or a device,
///         two members of one name, an archive that ends too early or unpacks to too much.
class Archive {
 public:
  explicit Archive(const std::filesystem::path& path);
  explicit Archive(const Member& file);  ///< a tar or tgz in memory

  ArchiveKind kind() const { return kind_; }
  /// Of all files, in alphabetical order.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// Errors  as above, and a member that is missing; the text starts with its name.
  Member read(std::string_view name) const;

 private:
  void list(const Member& file);
  void list_tar(const Member& tar);

  ArchiveKind kind_ = ArchiveKind::kFolder;
  std::filesystem::path folder_;
  std::map<std::string, Member, std::less<>> members_;
};

/// What a tgz of `bytes` may unpack to: a dense model of 99 % zeros passes, a bomb does not.
size_t unpacked_limit(size_t bytes);

/// By ending: ".tar" is a tar; ".tgz" and ".tar.gz" a tgz; every other name a folder.
ArchiveKind archive_kind_for_output(const std::filesystem::path& path);

/// Adds a file to the archive that is being written; its bytes are those of the pieces in a row.
/// Errors  Fault::kUnsupported for a name that Archive would refuse, or a second one.
using AddMember = std::function<void(std::string_view name, const std::vector<Bytes>& pieces)>;

/// Writes an archive of the kind that its ending asks for: `fill` adds the members one after
/// another, so only one need be in memory. It appears whole or not at all. The same members give
/// the same bytes (order of adding, date 0, owner 0, mode 0644; pax headers only where ustar has no
/// room). An existing folder is replaced only where it is empty or `may_replace` says so. False
/// where `accept` said no.
bool write_archive(const std::filesystem::path& target,
                   const std::function<void(const AddMember& add)>& fill,
                   const std::function<bool(const std::filesystem::path&)>& may_replace,
                   const AcceptOutput& accept = {});

}  // namespace espalier
