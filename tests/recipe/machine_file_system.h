// The real file system, but for what a test says about the machine: files of /proc and /sys, free
// disk.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"

namespace lowbit {

class MachineFileSystem : public FileSystem {
 public:
  std::map<std::string, std::string> system_files;  // path -> text; the others there are missing
  std::optional<std::uint64_t> free_disk_bytes;

  Result<std::unique_ptr<MappedFile>> map(const Path& path) override { return real().map(path); }
  Result<std::string> read(const Path& path, std::uint64_t limit_bytes) override {
    const std::string text = path.string();
    if (!text.starts_with("/proc/") && !text.starts_with("/sys/"))
      return real().read(path, limit_bytes);
    if (const auto found = system_files.find(text); found != system_files.end())
      return found->second;
    return environment_error("file/missing", text);
  }
  Result<std::unique_ptr<WritableFile>> create(const Path& path) override {
    return real().create(path);
  }
  Result<std::unique_ptr<WritableFile>> append(const Path& path) override {
    return real().append(path);
  }
  Status rename(const Path& from, const Path& to) override { return real().rename(from, to); }
  Status sync_folder(const Path& folder) override { return real().sync_folder(folder); }
  Status make_folders(const Path& folder) override { return real().make_folders(folder); }
  Status remove(const Path& path) override { return real().remove(path); }
  Result<FileInfo> info(const Path& path) override { return real().info(path); }
  bool exists(const Path& path) override { return real().exists(path); }
  Result<std::vector<std::string>> list(const Path& folder) override { return real().list(folder); }
  Result<std::uint64_t> free_bytes(const Path& folder) override {
    if (free_disk_bytes) return *free_disk_bytes;
    return real().free_bytes(folder);
  }

 private:
  static FileSystem& real() { return real_file_system(); }
};

}  // namespace lowbit
