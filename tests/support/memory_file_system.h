// Files in memory, to be read: what a reader sees of a folder, without a disk. Writing is refused.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "base/file.h"

namespace lowbit::testing {

class MemoryFileSystem : public FileSystem {
 public:
  // File names to contents; the folder in front of a name does not matter.
  explicit MemoryFileSystem(std::map<std::string, std::string> contents)
      : contents_(std::move(contents)) {}

  Result<std::unique_ptr<MappedFile>> map(const Path& path) override {
    const auto found = contents_.find(path.filename().string());
    if (found == contents_.end()) return missing(path);
    return std::unique_ptr<MappedFile>(std::make_unique<Mapping>(found->second));
  }
  Result<std::string> read(const Path& path, std::uint64_t limit_bytes) override {
    const auto found = contents_.find(path.filename().string());
    if (found == contents_.end()) return missing(path);
    if (found->second.size() > limit_bytes)
      return environment_error("file/too-large", path.string());
    return found->second;
  }
  Result<FileInfo> info(const Path& path) override {
    const auto found = contents_.find(path.filename().string());
    if (found == contents_.end()) return missing(path);
    return FileInfo{.size_bytes = found->second.size()};
  }
  bool exists(const Path& path) override { return contents_.contains(path.filename().string()); }
  Result<std::vector<std::string>> list(const Path&) override {
    std::vector<std::string> names;
    for (const auto& [name, content] : contents_) names.push_back(name);
    return names;
  }

  Result<std::unique_ptr<WritableFile>> create(const Path& path) override {
    return read_only(path);
  }
  Result<std::unique_ptr<WritableFile>> append(const Path& path) override {
    return read_only(path);
  }
  Status rename(const Path& from, const Path&) override { return read_only(from); }
  Status sync_folder(const Path& folder) override { return read_only(folder); }
  Status make_folders(const Path& folder) override { return read_only(folder); }
  Status remove(const Path& path) override { return read_only(path); }
  Result<std::uint64_t> free_bytes(const Path&) override { return std::uint64_t{0}; }

 private:
  class Mapping : public MappedFile {
   public:
    explicit Mapping(const std::string& content) : content_(content) {}
    std::span<const std::byte> bytes() const override { return std::as_bytes(std::span(content_)); }

   private:
    const std::string& content_;  // of the file system, which outlives its mappings
  };

  static Error missing(const Path& path) {
    return environment_error("file/missing", path.string() + ": is not there");
  }
  static Error read_only(const Path& path) {
    return environment_error("file/read-only", path.string() + ": cannot be written");
  }

  std::map<std::string, std::string> contents_;
};

}  // namespace lowbit::testing
