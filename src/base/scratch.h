// A large buffer that is written and read many times and thrown away: memory, or a file without a
// name in a folder, mapped. Both start as zeros; the space is claimed at once, so that a full disk
// is an error here and not a signal later. "scratch/no-memory" and "file/no-space" say how many
// bytes were asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file.h"
#include "base/result.h"

namespace lowbit {

class Scratch {
 public:
  static Result<Scratch> in_memory(std::uint64_t bytes);
  static Result<Scratch> on_disk(const Path& folder, std::uint64_t bytes);
  ~Scratch();
  Scratch(Scratch&& other) noexcept;
  Scratch& operator=(Scratch&& other) noexcept;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit Scratch(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

}  // namespace lowbit
