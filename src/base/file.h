// The one door to the file system: all reading, writing, syncing and renaming goes through it, so
// that a test can cut a write short, fill the disk or stop the program at the n-th operation.
//
// Every call returns an Error of kind environment that names the path: file/{missing, permission,
// no-space (with the bytes wanted and free), too-large, is-folder, not-a-folder, not-regular,
// read-only, too-many-open, no-memory, failed}. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lowbit {

using Path = std::filesystem::path;

// A read-only mapping; the bytes live as long as the object. Nothing guards against another program
// that cuts the file meanwhile: touching a page past the new end is SIGBUS. Output is renamed into
// place, never rewritten, so our own files are safe from that.
class MappedFile {
 public:
  virtual ~MappedFile() = default;
  virtual std::span<const std::byte> bytes() const = 0;
};

// A file being written, in order. Destroying it closes it without syncing.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual Status write(std::span<const std::byte> bytes) = 0;
  virtual Status sync() = 0;   // data and metadata are on the disk
  virtual Status close() = 0;  // reports a failure that a destructor could not
};

struct FileInfo {
  std::uint64_t size_bytes = 0;
  bool is_folder = false;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<MappedFile>> map(const Path& path) = 0;
  virtual Result<std::string> read(const Path& path, std::uint64_t limit_bytes) = 0;
  virtual Result<std::unique_ptr<WritableFile>> create(const Path& path) = 0;  // truncates
  virtual Result<std::unique_ptr<WritableFile>> append(const Path& path) = 0;

  virtual Status rename(const Path& from, const Path& to) = 0;  // replaces `to` at once
  virtual Status sync_folder(const Path& folder) = 0;           // makes renames durable
  virtual Status make_folders(const Path& folder) = 0;
  virtual Status remove(const Path& path) = 0;  // a file; a missing one is no error

  virtual Result<FileInfo> info(const Path& path) = 0;
  virtual bool exists(const Path& path) = 0;
  virtual Result<std::vector<std::string>> list(const Path& folder) = 0;  // names, sorted
  virtual Result<std::uint64_t> free_bytes(const Path& folder) = 0;
};

FileSystem& real_file_system();

// Writes a file so that it is either there whole or not at all: written to a sibling
// ("NAME.partial"), synced, renamed, the folder synced. After a failure the sibling is removed.
Status write_whole(FileSystem& files, const Path& path, std::string_view content);
// The same for content that `fill` writes piece by piece.
Status write_aside(FileSystem& files, const Path& path,
                   const std::function<Status(WritableFile&)>& fill);
Path partial_path(const Path& path);   // the sibling
Path parent_folder(const Path& path);  // "." for a bare name

}  // namespace lowbit
