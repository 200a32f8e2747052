// safetensors files: mapped reading of hostile files, durable writing.
//
// Bytes: u64 header length (little endian), that many bytes of JSON, then the data. A file is
// accepted only when the header is within the limits, each tensor's bytes fit its dtype and shape,
// and the tensors cover the data without overlap or gap. One error code per cause:
// safetensors/{too-short, header-too-long, header-past-end, header-not-json, duplicate-key,
// bad-entry, unknown-dtype, bad-shape, size-overflow, size-mismatch, overlap, gap, short-data,
// trailing-data, too-many-tensors}.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"
#include "base/result.h"

namespace lowbit {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;  // row major
  std::uint64_t begin = 0;          // bytes, from the end of the header
  std::uint64_t end = 0;

  std::int64_t elements() const;
  std::uint64_t size_bytes() const { return end - begin; }
};

class SafetensorsFile {
 public:
  // Maps and checks the file; keeps the mapping, so tensors cost no memory until touched.
  static Result<SafetensorsFile> open(FileSystem& files, const Path& path);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }  // in order of their data
  const TensorInfo* find(const std::string& name) const;               // null when absent
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const Path& path() const { return path_; }

 private:
  Path path_;
  std::unique_ptr<MappedFile> file_;
  std::uint64_t data_begin_ = 0;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t> index_;
  std::map<std::string, std::string> metadata_;
};

// A tensor to be written; the bytes are borrowed until the call returns.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

// Writes to a sibling, syncs, renames and syncs the folder: the file is there whole or not at all.
// The order of tensors is kept; the same input gives the same bytes.
Status write_safetensors(FileSystem& files, const Path& path,
                         std::span<const TensorToWrite> tensors,
                         const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace lowbit
