// The real file system, with one fault at the n-th operation: the program is killed there, the disk
// is full, or a write is cut short. A test runs a piece of work once without a fault to learn how
// many operations it has, then once for each of them:
//
//   FaultyFileSystem counting;  work(counting);
//   for (int n = 1; n <= counting.operations(); ++n) {
//     FaultyFileSystem files({.kind = FaultKind::kill, .at = n});
//     EXPECT_THROW(work(files), Killed);   // then look at what is on the disk
//   }
//
// Nothing is really synced: a real power cut is not among the faults, and syncs cost most of the
// time. Every operation that can change the disk or fail counts (not exists, info, list,
// free_bytes).
#pragma once

#include <map>
#include <mutex>
#include <utility>

#include "base/file.h"

namespace lowbit::testing {

// Thrown at the fault and by all operations after it: whoever catches it stands for the next start
// of the program. Not a std::exception, so that no border to third-party code turns it into an
// Error.
struct Killed {};

enum class FaultKind { none, kill, power_cut, no_space, short_write };
// kill: half of a write is done, other operations are not; what was written stays, as the kernel
// has it. power_cut: besides, each file loses what was written to it after its last sync. no_space:
// that operation fails once, without an effect. short_write: half of the write is done, then it
// fails for want of space; no fault at other operations.

struct Fault {
  FaultKind kind = FaultKind::none;
  int at = 0;  // the operation, from 1
};

class FaultyFileSystem : public FileSystem {
 public:
  FaultyFileSystem() = default;
  explicit FaultyFileSystem(Fault fault) : fault_(fault) {}

  int operations() const { return operations_; }

  Result<std::unique_ptr<MappedFile>> map(const Path& path) override {
    if (Status fine = step(path); !fine) return fine.error();
    return real_.map(path);
  }
  Result<std::string> read(const Path& path, std::uint64_t limit_bytes) override {
    if (Status fine = step(path); !fine) return fine.error();
    return real_.read(path, limit_bytes);
  }
  Result<std::unique_ptr<WritableFile>> create(const Path& path) override {
    if (Status fine = step(path); !fine) return fine.error();
    auto file = real_.create(path);
    if (!file) return file;
    const std::lock_guard lock(guard_);
    synced_bytes_[path] = 0;
    return wrap(path, *std::move(file));
  }
  Result<std::unique_ptr<WritableFile>> append(const Path& path) override {
    if (Status fine = step(path); !fine) return fine.error();
    const auto before = real_.info(path);
    auto file = real_.append(path);
    if (!file) return file;
    const std::lock_guard lock(guard_);
    synced_bytes_.try_emplace(path, before ? before->size_bytes : 0);
    return wrap(path, *std::move(file));
  }
  Status rename(const Path& from, const Path& to) override {
    if (Status fine = step(from); !fine) return fine;
    if (Status renamed = real_.rename(from, to); !renamed) return renamed;
    const std::lock_guard lock(guard_);
    synced_bytes_.erase(to);
    if (auto moved = synced_bytes_.extract(from)) {
      moved.key() = to;
      synced_bytes_.insert(std::move(moved));
    }
    return {};
  }
  Status sync_folder(const Path& folder) override { return step(folder); }
  Status make_folders(const Path& folder) override {
    if (Status fine = step(folder); !fine) return fine;
    return real_.make_folders(folder);
  }
  Status remove(const Path& path) override {
    if (Status fine = step(path); !fine) return fine;
    const std::lock_guard lock(guard_);
    synced_bytes_.erase(path);
    return real_.remove(path);
  }

  Result<FileInfo> info(const Path& path) override { return real_.info(alive(path)); }
  bool exists(const Path& path) override { return real_.exists(alive(path)); }
  Result<std::vector<std::string>> list(const Path& folder) override {
    return real_.list(alive(folder));
  }
  Result<std::uint64_t> free_bytes(const Path& folder) override {
    return real_.free_bytes(alive(folder));
  }

 private:
  class File : public WritableFile {
   public:
    File(FaultyFileSystem& files, Path path, std::unique_ptr<WritableFile> real)
        : files_(files), path_(std::move(path)), real_(std::move(real)) {}

    Status write(std::span<const std::byte> bytes) override {
      const auto write_half = [&] { return real_->write(bytes.first(bytes.size() / 2)); };
      if (Status fine = files_.step(path_, write_half); !fine) return fine;
      return real_->write(bytes);
    }
    Status sync() override {
      if (Status fine = files_.step(path_); !fine) return fine;
      files_.note_synced(path_);
      return {};
    }
    Status close() override {
      if (Status fine = files_.step(path_); !fine) return fine;
      return real_->close();
    }

   private:
    FaultyFileSystem& files_;
    Path path_;
    std::unique_ptr<WritableFile> real_;
  };

  std::unique_ptr<WritableFile> wrap(const Path& path, std::unique_ptr<WritableFile> real) {
    return std::make_unique<File>(*this, path, std::move(real));
  }

  const Path& alive(const Path& path) const {
    if (killed_) throw Killed{};
    return path;
  }

  static Error no_space(const Path& path) {
    return environment_error("file/no-space", path.string() + ": the disk is full (by the test)");
  }

  // Counts an operation and does the fault when it is due. `write_half` is given by writes only.
  Status step(const Path& path, const std::function<Status()>& write_half = {}) {
    const std::lock_guard lock(guard_);
    if (killed_) throw Killed{};
    if (++operations_ != fault_.at) return {};
    const bool kills = fault_.kind == FaultKind::kill || fault_.kind == FaultKind::power_cut;
    const bool cuts = fault_.kind == FaultKind::short_write && write_half;
    if (write_half && (kills || cuts)) CHECK(write_half().ok());
    if (kills) {
      killed_ = true;
      if (fault_.kind == FaultKind::power_cut) drop_unsynced();
      throw Killed{};
    }
    if (cuts || fault_.kind == FaultKind::no_space) return no_space(path);
    return {};
  }

  void note_synced(const Path& path) {
    const std::lock_guard lock(guard_);
    synced_bytes_[path] = real_.info(path).value().size_bytes;
  }

  void drop_unsynced() {
    for (const auto& [path, bytes] : synced_bytes_) std::filesystem::resize_file(path, bytes);
  }

  FileSystem& real_ = real_file_system();
  Fault fault_;
  std::mutex guard_;
  int operations_ = 0;
  bool killed_ = false;
  std::map<Path, std::uint64_t> synced_bytes_;  // of each file that was written through us
};

}  // namespace lowbit::testing
