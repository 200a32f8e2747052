#include <fmt/format.h>

#include <array>
#include <set>

#include "base/checked.h"
#include "io/json.h"
#include "io/limits.h"
#include "io/safetensors.h"

namespace lowbit {
namespace {

constexpr std::size_t kDataAlignment = 8;

// Our own tensors: a wrong one is a bug, not input.
Status check_tensor(const TensorToWrite& tensor) {
  auto needed = std::optional<std::uint64_t>(size_bytes(tensor.dtype));
  for (const std::int64_t dimension : tensor.shape) {
    if (needed && dimension >= 0) {
      needed = checked_mul(*needed, static_cast<std::uint64_t>(dimension));
    } else {
      needed = std::nullopt;
    }
  }
  if (needed == tensor.bytes.size()) return {};
  return internal_error("safetensors/wrong-size",
                        fmt::format("tensor '{}' has {} bytes, not those of its shape", tensor.name,
                                    tensor.bytes.size()));
}

Result<std::string> header_text(std::span<const TensorToWrite> tensors,
                                const std::map<std::string, std::string>& metadata) {
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names{"__metadata__"};
  std::uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    if (Status right = check_tensor(tensor); !right) return right.error();
    if (!names.insert(tensor.name).second) {
      return internal_error("safetensors/duplicate-key",
                            fmt::format("tensor '{}' is written twice", tensor.name));
    }
    const std::uint64_t end = offset + tensor.bytes.size();
    header[tensor.name] = {
        {"dtype", name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& cause) {  // a name that is not UTF-8
    return bad_input("safetensors/bad-name", cause.what());
  }
  text.resize((text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment, ' ');
  if (text.size() > kMaxSafetensorsHeaderBytes) {
    return internal_error("safetensors/header-too-long",
                          fmt::format("header would have {} bytes, at most {} can be read",
                                      text.size(), kMaxSafetensorsHeaderBytes));
  }
  return text;
}

}  // namespace

Status write_safetensors(FileSystem& files, const Path& path,
                         std::span<const TensorToWrite> tensors,
                         const std::map<std::string, std::string>& metadata) {
  const auto header = header_text(tensors, metadata);
  if (!header) return within(path.string(), header.error());
  std::array<std::byte, 8> length{};
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<std::byte>(std::uint64_t{header->size()} >> (8 * i) & 0xff);
  }
  return write_aside(files, path, [&](WritableFile& file) -> Status {
    if (Status written = file.write(length); !written) return written;
    if (Status written = file.write(std::as_bytes(std::span(*header))); !written) return written;
    for (const TensorToWrite& tensor : tensors) {
      if (Status written = file.write(tensor.bytes); !written) return written;
    }
    return {};
  });
}

}  // namespace lowbit
