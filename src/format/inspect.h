// What is in a .safetensors file or a model folder: its tensors and, where linears are packed, a
// table of them with their true bits a weight. Works without knowing the architecture.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "format/packed_checkpoint.h"
#include "io/safetensors.h"

namespace lowbit {

struct InspectedTensor {
  std::string file;  // name in the folder
  TensorInfo info;
};

struct InspectedLinear {  // packed ones only
  std::string name;
  std::int64_t out = 0;
  std::int64_t in = 0;
  LinearScheme scheme;
  std::uint64_t stored_bytes = 0;  // codes, scales, zeros, shape

  double bits_per_weight() const;
};

struct Inspection {
  std::string path;
  std::string architecture;              // empty for a single file
  std::vector<InspectedTensor> tensors;  // sorted by name
  std::vector<InspectedLinear> linears;  // sorted by name
  std::optional<KvType> kv_cache;        // of keys and values at run time, where it is told
  std::string problem;  // why packed linears could not be listed; empty if they were

  std::uint64_t tensor_bytes() const;
  double bits_per_packed_weight() const;  // over all linears of the table; 0 when there is none
};

Result<Inspection> inspect(FileSystem& files, const Path& path);

std::string inspection_text(const Inspection& inspection);
OrderedJson inspection_json(const Inspection& inspection);

}  // namespace lowbit
