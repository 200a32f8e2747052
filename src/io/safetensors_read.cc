#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "base/checked.h"
#include "io/json.h"
#include "io/limits.h"
#include "io/safetensors.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kLengthBytes = 8;  // the u64 before the header
constexpr const char* kMetadataKey = "__metadata__";
constexpr const char* kFetchAgain = "the file is cut or damaged: fetch it again";
constexpr const char* kWriteAgain = "the file was written wrongly: make it again";

Error refused(const char* cause, std::string message) {
  return bad_input(std::string("safetensors/") + cause, std::move(message));
}

Error refused_tensor(const char* cause, const std::string& name, const std::string& message) {
  return refused(cause, fmt::format("tensor '{}': {}", name, message));
}

// The header's text, between its length and the data.
Result<std::string_view> header_text(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) {
    return refused("too-short", fmt::format("has {} bytes, a safetensors file has at least {}; {}",
                                            file.size(), kLengthBytes, kFetchAgain));
  }
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  }
  if (length > kMaxSafetensorsHeaderBytes) {
    return refused("header-too-long",
                   fmt::format("header length is {}, at most {} is read; check that it is a "
                               "safetensors file",
                               length, kMaxSafetensorsHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    return refused("header-past-end", fmt::format("header ends at byte {}, the file at byte {}; {}",
                                                  kLengthBytes + length, file.size(), kFetchAgain));
  }
  const auto text = file.subspan(kLengthBytes, static_cast<std::size_t>(length));
  return std::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

Result<Json> parse_header(std::string_view text) {
  auto header = parse_json(text);
  if (!header) {
    const Error& cause = header.error();
    if (cause.kind != ErrorKind::bad_input) return cause;
    const bool twice = cause.code == "json/duplicate-key";
    return refused(twice ? "duplicate-key" : "header-not-json", "header: " + cause.message);
  }
  if (!header->is_object()) {
    return refused("header-not-json", fmt::format("header is a JSON {}, expected an object; {}",
                                                  header->type_name(), kWriteAgain));
  }
  return header;
}

Result<std::map<std::string, std::string>> parse_metadata(const Json& entry) {
  std::map<std::string, std::string> metadata;
  bool all_text = entry.is_object();
  if (all_text) {
    for (const auto& [key, value] : entry.items()) {
      all_text = all_text && value.is_string();
      if (all_text) metadata[key] = value.get_ref<const std::string&>();
    }
  }
  if (!all_text) {
    return refused("bad-entry",
                   fmt::format("'{}' is not an object of strings; {}", kMetadataKey, kWriteAgain));
  }
  return metadata;
}

// An array of whole numbers from 0 up to what an int64 holds; nothing when it is anything else.
std::optional<std::vector<std::int64_t>> whole_numbers(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::int64_t> numbers;
  for (const Json& element : value) {
    if (!element.is_number_unsigned()) return std::nullopt;
    const auto number = element.get<std::uint64_t>();
    if (!std::in_range<std::int64_t>(number)) return std::nullopt;
    numbers.push_back(static_cast<std::int64_t>(number));
  }
  return numbers;
}

Result<TensorInfo> parse_entry(const std::string& name, const Json& entry) {
  const bool complete = entry.is_object() && entry.size() == 3 && entry.contains("dtype") &&
                        entry.contains("shape") && entry.contains("data_offsets") &&
                        entry["dtype"].is_string();
  if (!complete) {
    return refused_tensor("bad-entry", name,
                          fmt::format("its entry is not an object of a dtype (a string), shape and "
                                      "data_offsets; {}",
                                      kWriteAgain));
  }
  const auto& dtype_name = entry["dtype"].get_ref<const std::string&>();
  const auto dtype = dtype_from_name(dtype_name);
  if (!dtype) {
    return refused_tensor("unknown-dtype", name,
                          fmt::format("has dtype '{}', which is not one we read (F32, F16, BF16, "
                                      "integers and 8-bit floats); convert the checkpoint",
                                      dtype_name));
  }
  auto shape = whole_numbers(entry["shape"]);
  if (!shape || shape->size() > kMaxTensorDimensions) {
    return refused_tensor("bad-shape", name,
                          fmt::format("its shape is not a list of at most {} whole numbers; {}",
                                      kMaxTensorDimensions, kWriteAgain));
  }
  const auto offsets = whole_numbers(entry["data_offsets"]);
  if (!offsets || offsets->size() != 2 || offsets->front() > offsets->back()) {
    return refused_tensor(
        "bad-entry", name,
        fmt::format("its data_offsets are not a begin and an end; {}", kWriteAgain));
  }
  return TensorInfo{.name = name,
                    .dtype = *dtype,
                    .shape = *std::move(shape),
                    .begin = static_cast<std::uint64_t>(offsets->front()),
                    .end = static_cast<std::uint64_t>(offsets->back())};
}

// The product of all dimensions that are not 0 must fit, also when one is 0 and the tensor empty:
// then products of any of the dimensions are safe everywhere else.
Status check_size(const TensorInfo& tensor) {
  auto needed = std::optional(static_cast<std::int64_t>(size_bytes(tensor.dtype)));
  bool empty = false;
  for (const std::int64_t dimension : tensor.shape) {
    empty = empty || dimension == 0;
    if (needed && dimension != 0) needed = checked_mul(*needed, dimension);
  }
  if (!needed) {
    return refused_tensor("size-overflow", tensor.name,
                          fmt::format("its shape [{}] needs more bytes than 64 bits count; {}",
                                      fmt::join(tensor.shape, ", "), kWriteAgain));
  }
  const auto bytes = empty ? 0 : static_cast<std::uint64_t>(*needed);
  if (bytes != tensor.size_bytes()) {
    return refused_tensor(
        "size-mismatch", tensor.name,
        fmt::format("its data_offsets span {} bytes, {} [{}] needs {}; {}", tensor.size_bytes(),
                    name(tensor.dtype), fmt::join(tensor.shape, ", "), bytes, kWriteAgain));
  }
  return {};
}

// Tensors in order of their data must follow each other from the first byte to the last.
Status check_cover(const std::vector<TensorInfo>& tensors, std::uint64_t data_bytes) {
  std::uint64_t covered = 0;
  const std::string* before = nullptr;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin < covered) {
      return refused_tensor("overlap", tensor.name,
                            fmt::format("begins at byte {}, before tensor '{}' ends at {}; {}",
                                        tensor.begin, *before, covered, kWriteAgain));
    }
    if (tensor.begin > covered) {
      return refused_tensor("gap", tensor.name,
                            fmt::format("begins at byte {}, the data before it ends at {}; {}",
                                        tensor.begin, covered, kWriteAgain));
    }
    if (tensor.end > data_bytes) {
      return refused_tensor("short-data", tensor.name,
                            fmt::format("ends at byte {} of the data, which has {} bytes; {}",
                                        tensor.end, data_bytes, kFetchAgain));
    }
    covered = tensor.end;
    before = &tensor.name;
  }
  if (covered < data_bytes) {
    return refused("trailing-data",
                   fmt::format("tensors end at byte {} of the data, which has {} bytes; {}",
                               covered, data_bytes, kWriteAgain));
  }
  return {};
}

struct Header {
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

Result<Header> read_header(const Json& json, std::uint64_t data_bytes) {
  if (json.size() > kMaxTensorsInFile) {
    return refused("too-many-tensors",
                   fmt::format("lists {} tensors, at most {} are read; check that it is the file "
                               "that was meant",
                               json.size(), kMaxTensorsInFile));
  }
  Header header;
  for (const auto& [key, entry] : json.items()) {
    if (key == kMetadataKey) {
      auto metadata = parse_metadata(entry);
      if (!metadata) return std::move(metadata).error();
      header.metadata = *std::move(metadata);
      continue;
    }
    auto tensor = parse_entry(key, entry);
    if (!tensor) return std::move(tensor).error();
    if (Status fits = check_size(*tensor); !fits) return fits.error();
    header.tensors.push_back(*std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  if (Status whole = check_cover(header.tensors, data_bytes); !whole) return whole.error();
  return header;
}

}  // namespace

std::int64_t TensorInfo::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

Result<SafetensorsFile> SafetensorsFile::open(FileSystem& files, const Path& path) {
  auto mapped = files.map(path);
  if (!mapped) return std::move(mapped).error();
  const auto bytes = (*mapped)->bytes();
  const auto text = header_text(bytes);
  if (!text) return within(path.string(), text.error());
  const auto json = parse_header(*text);
  if (!json) return within(path.string(), json.error());

  SafetensorsFile file;
  file.data_begin_ = kLengthBytes + text->size();
  auto header = read_header(*json, bytes.size() - file.data_begin_);
  if (!header) return within(path.string(), std::move(header).error());
  file.path_ = path;
  file.file_ = *std::move(mapped);
  file.tensors_ = std::move(header->tensors);
  file.metadata_ = std::move(header->metadata);
  for (std::size_t i = 0; i < file.tensors_.size(); ++i) file.index_[file.tensors_[i].name] = i;
  return file;
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& tensor) const {
  return file_->bytes().subspan(data_begin_ + tensor.begin, tensor.size_bytes());
}

}  // namespace lowbit
