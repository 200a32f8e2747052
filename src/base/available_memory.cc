#include "base/available_memory.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

namespace lowbit {
namespace {

constexpr std::uint64_t kProcFileLimitBytes = 1 << 20;

std::optional<std::uint64_t> leading_number(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return std::nullopt;
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + start, text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;  // "max": no limit
  return number;
}

// The number after `key` in a file of "key number" lines.
std::optional<std::uint64_t> field(FileSystem& files, const Path& path, std::string_view key) {
  const Result<std::string> text = files.read(path, kProcFileLimitBytes);
  if (!text) return std::nullopt;
  const std::size_t at = text->starts_with(key) ? 0 : text->find("\n" + std::string(key));
  if (at == std::string::npos) return std::nullopt;
  return leading_number(std::string_view(*text).substr(at + key.size() + (at == 0 ? 0 : 1)));
}

// Memory left under a cgroup's limit; its page cache can be taken back and does not count as used.
std::optional<std::uint64_t> cgroup_left(FileSystem& files, const Path& limit_file,
                                         const Path& usage_file, const Path& stat_file) {
  const auto limit = field(files, limit_file, "");
  const auto usage = field(files, usage_file, "");
  if (!limit || !usage) return std::nullopt;
  const std::uint64_t cache = field(files, stat_file, "inactive_file ").value_or(0) +
                              field(files, stat_file, "active_file ").value_or(0);
  const std::uint64_t used = *usage - std::min(cache, *usage);
  return *limit - std::min(used, *limit);
}

}  // namespace

std::optional<std::uint64_t> available_memory(FileSystem& files) {
  std::optional<std::uint64_t> least;
  const auto take = [&](std::optional<std::uint64_t> bytes) {
    if (bytes) least = std::min(least.value_or(*bytes), *bytes);
  };
  if (const auto kilobytes = field(files, "/proc/meminfo", "MemAvailable:"))
    take(*kilobytes * 1024);
  const Path group = "/sys/fs/cgroup";
  take(cgroup_left(files, group / "memory.max", group / "memory.current", group / "memory.stat"));
  take(cgroup_left(files, group / "memory/memory.limit_in_bytes",
                   group / "memory/memory.usage_in_bytes", group / "memory/memory.stat"));
  return least;
}

}  // namespace lowbit
