#include "base/scratch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace lowbit {
namespace {

std::string bytes_text(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

Error disk_error(const Path& folder, std::uint64_t bytes, int error) {
  const char* code = error == ENOSPC ? "file/no-space" : "file/write";
  return environment_error(code, folder.string() + ": cannot reserve " + bytes_text(bytes) +
                                     " of scratch space: " + std::strerror(error) +
                                     "; free the disk or choose another --offload-dir");
}

}  // namespace

Result<Scratch> Scratch::in_memory(std::uint64_t bytes) {
  if (bytes == 0) return Scratch({});
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return environment_error("scratch/no-memory",
                             "cannot reserve " + bytes_text(bytes) +
                                 " of memory for hidden states; use --offload-dir, fewer windows "
                                 "or shorter ones");
  }
  return Scratch({static_cast<std::byte*>(address), bytes});
}

Result<Scratch> Scratch::on_disk(const Path& folder, std::uint64_t bytes) {
  if (bytes == 0) return Scratch({});
  std::string name = (folder / "lowbit-scratch-XXXXXX").string();
  const int file = mkstemp(name.data());
  if (file < 0) return disk_error(folder, bytes, errno);
  unlink(name.c_str());  // gone with the last mapping, also after a kill
  const int failed = posix_fallocate(file, 0, static_cast<off_t>(bytes));
  void* address = MAP_FAILED;
  if (failed == 0) {
    address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  const int error = failed != 0 ? failed : errno;
  close(file);
  if (address == MAP_FAILED) return disk_error(folder, bytes, error);
  return Scratch({static_cast<std::byte*>(address), bytes});
}

Scratch::~Scratch() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

Scratch::Scratch(Scratch&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

Scratch& Scratch::operator=(Scratch&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace lowbit
