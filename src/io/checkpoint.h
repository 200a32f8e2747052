// A Hugging Face checkpoint folder: config.json and one or several safetensors files, mapped.
//
// Errors beside those of safetensors.h: checkpoint/{no-config, bad-config, no-weights, bad-index,
// path-leaves-folder, missing-shard, not-in-shard, duplicate-tensor, missing-tensor, wrong-shape,
// wrong-dtype, non-finite}.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace lowbit {

class Checkpoint {
 public:
  // Reads config.json and the headers of all weight files. `files` must outlive the object.
  static Result<Checkpoint> open(FileSystem& files, const Path& folder);
  // One weight file alone, without a config: a shard of a run that is not finished.
  static Result<Checkpoint> open_weights(FileSystem& files, const Path& file);

  FileSystem& files() const { return *files_; }
  const Path& folder() const { return folder_; }
  const OrderedJson& config() const { return config_; }
  const std::vector<SafetensorsFile>& shards() const { return shards_; }

  bool has(const std::string& name) const { return where_.contains(name); }
  std::vector<std::string> names() const;  // sorted

  // The tensor's description and bytes; "checkpoint/missing-tensor" names it and the folder.
  struct Tensor {
    const TensorInfo* info = nullptr;
    std::span<const std::byte> bytes;
  };
  Result<Tensor> tensor(const std::string& name) const;

  // F32, F16 or BF16 as float32, checked for this shape and for non-finite values.
  Result<std::vector<float>> floats(const std::string& name,
                                    const std::vector<std::int64_t>& shape) const;
  // Rows [begin, end) of a matrix with `columns` columns: for embeddings that need not be whole.
  Result<std::vector<float>> float_rows(const std::string& name, std::int64_t columns,
                                        std::int64_t begin, std::int64_t end) const;

 private:
  // Fills where_ and checks it against the index (empty for a single file).
  Status place_tensors(const std::map<std::string, std::string>& weight_map);

  FileSystem* files_ = nullptr;
  Path folder_;
  OrderedJson config_;
  std::vector<SafetensorsFile> shards_;
  std::map<std::string, std::size_t> where_;  // tensor name -> shard
};

}  // namespace lowbit
