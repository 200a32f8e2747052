// FileSystem over POSIX calls. std::filesystem is used where it tells the cause of a failure.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace lowbit {
namespace {

constexpr mode_t kNewFileMode = 0666;                    // less the umask
constexpr std::size_t kReadStep = std::size_t{1} << 20;  // bytes a read asks for at once

struct Cause {
  int number;
  const char* code;
  const char* advice;
};

constexpr Cause kCauses[] = {
    {ENOENT, "file/missing", "check the path"},
    {EACCES, "file/permission", "give this user access to it"},
    {EPERM, "file/permission", "give this user access to it"},
    {EISDIR, "file/is-folder", "name a file"},
    {ENOTDIR, "file/not-a-folder", "check the path"},
    {EROFS, "file/read-only", "choose a place that can be written"},
    {EMFILE, "file/too-many-open", "raise the limit of open files (ulimit -n)"},
    {ENFILE, "file/too-many-open", "close other programs or raise the system's limit"},
    {ENOMEM, "file/no-memory", "free memory or raise the limit of mappings"},
};

// The error of a call that set `number`.
Error failed(const Path& path, const char* doing, int number) {
  const std::string reason = std::generic_category().message(number);
  for (const Cause& cause : kCauses) {
    if (cause.number != number) continue;
    return environment_error(
        cause.code, fmt::format("{}: {}: {}; {}", path.string(), doing, reason, cause.advice));
  }
  return environment_error("file/failed",
                           fmt::format("{}: {}: {} (error {}); check the disk and its file system",
                                       path.string(), doing, reason, number));
}

Result<std::uint64_t> free_bytes_at(const Path& folder) {
  struct statvfs volume = {};
  if (statvfs(folder.c_str(), &volume) != 0) return failed(folder, "asking for free space", errno);
  return std::uint64_t{volume.f_bavail} * volume.f_frsize;
}

Error write_failed(const Path& path, const char* doing, std::size_t wanted, int number) {
  if (number != ENOSPC && number != EDQUOT) return failed(path, doing, number);
  const auto free = free_bytes_at(parent_folder(path));
  return environment_error(
      "file/no-space",
      fmt::format("{}: {}: the disk or quota is full: {} bytes wanted, {} free; free space there "
                  "and run the same command again",
                  path.string(), doing, wanted, free ? fmt::to_string(*free) : "unknown"));
}

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

Result<Descriptor> open_at(const Path& path, int flags, const char* doing) {
  int number = -1;
  do {
    number = ::open(path.c_str(), flags | O_CLOEXEC, kNewFileMode);
  } while (number < 0 && errno == EINTR);
  if (number < 0) return write_failed(path, doing, 0, errno);
  return Descriptor(number);
}

struct OpenFile {
  Descriptor descriptor;
  std::uint64_t size_bytes;
};

// O_NONBLOCK so that a pipe in a model folder cannot hang us; a regular file does not mind.
Result<OpenFile> open_to_read(const Path& path) {
  auto descriptor = open_at(path, O_RDONLY | O_NONBLOCK, "opening");
  if (!descriptor) return std::move(descriptor).error();
  struct stat status = {};
  if (::fstat(descriptor->get(), &status) != 0) return failed(path, "opening", errno);
  if (S_ISDIR(status.st_mode)) return failed(path, "opening", EISDIR);
  if (!S_ISREG(status.st_mode)) {
    return environment_error("file/not-regular",
                             fmt::format("{}: is a pipe, socket or device, not a file; name a "
                                         "regular file",
                                         path.string()));
  }
  return OpenFile{*std::move(descriptor), static_cast<std::uint64_t>(status.st_size)};
}

class RealMapping : public MappedFile {
 public:
  RealMapping(void* start, std::size_t size) : start_(start), size_(size) {}
  RealMapping(const RealMapping&) = delete;
  RealMapping& operator=(const RealMapping&) = delete;
  ~RealMapping() override {
    if (size_ > 0) ::munmap(start_, size_);
  }
  std::span<const std::byte> bytes() const override {
    return {static_cast<const std::byte*>(start_), size_};
  }

 private:
  void* start_;
  std::size_t size_;
};

class RealWritable : public WritableFile {
 public:
  RealWritable(Path path, Descriptor descriptor)
      : path_(std::move(path)), descriptor_(std::move(descriptor)) {}

  Status write(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return write_failed(path_, "writing", bytes.size(), errno);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
  }

  Status sync() override {
    while (::fsync(descriptor_.get()) != 0) {
      if (errno != EINTR) return write_failed(path_, "syncing", 0, errno);
    }
    return {};
  }

  Status close() override {
    // Not again after EINTR: on Linux the descriptor is gone and may be another file's by now.
    if (::close(descriptor_.release()) != 0 && errno != EINTR) {
      return write_failed(path_, "closing", 0, errno);
    }
    return {};
  }

 private:
  Path path_;
  Descriptor descriptor_;
};

Result<std::unique_ptr<WritableFile>> open_to_write(const Path& path, int flags) {
  auto descriptor = open_at(path, O_WRONLY | O_CREAT | flags, "creating");
  if (!descriptor) return std::move(descriptor).error();
  return std::unique_ptr<WritableFile>(
      std::make_unique<RealWritable>(path, *std::move(descriptor)));
}

class RealFileSystem : public FileSystem {
 public:
  Result<std::unique_ptr<MappedFile>> map(const Path& path) override {
    auto file = open_to_read(path);
    if (!file) return std::move(file).error();
    const auto size = static_cast<std::size_t>(file->size_bytes);
    if (size == 0) return std::unique_ptr<MappedFile>(std::make_unique<RealMapping>(nullptr, 0));
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file->descriptor.get(), 0);
    if (start == MAP_FAILED) return failed(path, "mapping", errno);
    return std::unique_ptr<MappedFile>(std::make_unique<RealMapping>(start, size));
  }

  Result<std::string> read(const Path& path, std::uint64_t limit_bytes) override {
    auto file = open_to_read(path);
    if (!file) return std::move(file).error();
    const auto too_large = [&](std::uint64_t found) {
      return environment_error(
          "file/too-large", fmt::format("{}: has {} bytes, at most {} are read; check that it is "
                                        "the file that was meant",
                                        path.string(), found, limit_bytes));
    };
    if (file->size_bytes > limit_bytes) return too_large(file->size_bytes);
    std::string content;
    // The size is a hint only: the file may grow while it is read.
    while (true) {
      const std::size_t have = content.size();
      const std::size_t step = have < file->size_bytes
                                   ? static_cast<std::size_t>(file->size_bytes) - have
                                   : std::min<std::size_t>(kReadStep, limit_bytes - have + 1);
      content.resize(have + step);
      const ssize_t got = ::read(file->descriptor.get(), content.data() + have, step);
      const int number = errno;
      content.resize(have + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (got < 0 && number != EINTR) return failed(path, "reading", number);
      if (got == 0) return content;
      if (content.size() > limit_bytes) return too_large(content.size());
    }
  }

  Result<std::unique_ptr<WritableFile>> create(const Path& path) override {
    return open_to_write(path, O_TRUNC);
  }

  Result<std::unique_ptr<WritableFile>> append(const Path& path) override {
    return open_to_write(path, O_APPEND);
  }

  Status rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) == 0) return {};
    return write_failed(to, "renaming into place", 0, errno);
  }

  Status sync_folder(const Path& folder) override {
    auto descriptor = open_at(folder, O_RDONLY | O_DIRECTORY, "syncing the folder");
    if (!descriptor) return std::move(descriptor).error();
    while (::fsync(descriptor->get()) != 0) {
      if (errno == EINTR) continue;
      // Some network file systems cannot sync a folder and make renames durable by themselves.
      if (errno == EINVAL || errno == ENOTSUP) return {};
      return write_failed(folder, "syncing the folder", 0, errno);
    }
    return {};
  }

  // Each new folder's parent is synced: else a power cut could take the folder with all its files.
  Status make_folders(const Path& folder) override {
    std::vector<Path> missing;
    for (Path at = folder; !at.empty() && !exists(at); at = at.parent_path()) {
      missing.push_back(at);
      if (at == at.parent_path()) break;
    }
    for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
      if (!at->has_filename()) continue;  // "a/b/" names the same folder as "a/b"
      if (::mkdir(at->c_str(), 0777) != 0 && errno != EEXIST) {
        return write_failed(*at, "making the folder", 0, errno);
      }
      if (Status synced = sync_folder(parent_folder(*at)); !synced) return synced;
    }
    const auto made = info(folder);
    if (!made) return made.error();
    if (!made->is_folder) return failed(folder, "making the folder", ENOTDIR);
    return {};
  }

  Status remove(const Path& path) override {
    if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
    return failed(path, "removing", errno);
  }

  Result<FileInfo> info(const Path& path) override {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) return failed(path, "looking", errno);
    return FileInfo{.size_bytes = static_cast<std::uint64_t>(status.st_size),
                    .is_folder = S_ISDIR(status.st_mode)};
  }

  bool exists(const Path& path) override {
    struct stat status = {};
    return ::stat(path.c_str(), &status) == 0;
  }

  Result<std::vector<std::string>> list(const Path& folder) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entry(folder, error);
    const std::filesystem::directory_iterator end;
    while (!error && entry != end) {
      names.push_back(entry->path().filename().string());
      entry.increment(error);
    }
    if (error) return failed(folder, "listing the folder", error.value());
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::uint64_t> free_bytes(const Path& folder) override { return free_bytes_at(folder); }
};

}  // namespace

FileSystem& real_file_system() {
  static RealFileSystem files;
  return files;
}

}  // namespace lowbit
