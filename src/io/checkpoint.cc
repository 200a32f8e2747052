#include "io/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>

#include "base/half_float.h"
#include "base/threads.h"
#include "io/limits.h"

namespace lowbit {
namespace {

constexpr const char* kConfigName = "config.json";
constexpr const char* kWeightsName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kFetchAgain = "fetch the checkpoint again";
constexpr std::int64_t kConvertGrain = std::int64_t{1} << 16;  // values a thread takes at least

Error refused(const char* cause, std::string message) {
  return bad_input(std::string("checkpoint/") + cause, std::move(message));
}

Result<OrderedJson> read_config(FileSystem& files, const Path& folder) {
  const Path path = folder / kConfigName;
  const auto text = files.read(path, kMaxConfigBytes);
  if (!text && text.error().code == "file/missing") {
    return refused("no-config", fmt::format("{}: has no {}; name the folder of a Hugging Face "
                                            "checkpoint",
                                            folder.string(), kConfigName));
  }
  if (!text) return text.error();
  auto config = parse_ordered_json(*text);
  if (!config) return within(path.string(), std::move(config).error());
  if (!config->is_object()) {
    return refused("bad-config", fmt::format("{}: is a JSON {}, expected an object; {}",
                                             path.string(), config->type_name(), kFetchAgain));
  }
  return config;
}

// Only a plain file name: the index may not send us out of the folder. (The file itself may be a
// symbolic link, as in Hugging Face's cache: that one was made on this machine.)
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

using WeightMap = std::map<std::string, std::string>;  // tensor -> file

Result<WeightMap> read_index(FileSystem& files, const Path& path) {
  const auto text = files.read(path, kMaxCheckpointIndexBytes);
  if (!text) return text.error();
  const auto index = parse_json(*text);
  if (!index) return within(path.string(), index.error());
  if (!index->is_object() || !index->contains("weight_map") ||
      !(*index)["weight_map"].is_object()) {
    return refused("bad-index",
                   fmt::format("{}: has no object 'weight_map'; {}", path.string(), kFetchAgain));
  }
  WeightMap weight_map;
  for (const auto& [tensor, file] : (*index)["weight_map"].items()) {
    if (!file.is_string()) {
      return refused("bad-index",
                     fmt::format("{}: tensor '{}' has a JSON {} where its file's name "
                                 "is expected; {}",
                                 path.string(), tensor, file.type_name(), kFetchAgain));
    }
    const auto& name = file.get_ref<const std::string&>();
    if (!is_plain_name(name)) {
      return refused("path-leaves-folder",
                     fmt::format("{}: tensor '{}' is said to be in '{}', expected a file name "
                                 "without folders; do not trust this checkpoint",
                                 path.string(), tensor, name));
    }
    weight_map[tensor] = name;
  }
  return weight_map;
}

Result<std::vector<SafetensorsFile>> open_shards(FileSystem& files, const Path& folder,
                                                 const WeightMap& weight_map) {
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map) names.insert(file);
  std::vector<SafetensorsFile> shards;
  for (const std::string& name : names) {
    auto shard = SafetensorsFile::open(files, folder / name);
    if (!shard && shard.error().code == "file/missing") {
      return refused("missing-shard",
                     fmt::format("{}: is named in {} and not there; {}", (folder / name).string(),
                                 kIndexName, kFetchAgain));
    }
    if (!shard) return std::move(shard).error();
    shards.push_back(*std::move(shard));
  }
  return shards;
}

Error missing_tensor(const std::string& name, const Path& folder) {
  return refused("missing-tensor",
                 fmt::format("{}: has no tensor '{}'; check that the checkpoint is complete and "
                             "that its config.json belongs to it",
                             folder.string(), name));
}

std::string place_of(const Path& path, const std::string& tensor) {
  return fmt::format("{}: tensor '{}'", path.string(), tensor);
}

bool convert(DType dtype, std::span<const std::byte> stored, std::span<float> values) {
  if (dtype == DType::f32) return read_f32(stored, values);
  return dtype == DType::f16 ? read_f16(stored, values) : read_bf16(stored, values);
}

// Values [first, first + count) of the tensor as floats; `place` names it in errors.
Result<std::vector<float>> convert_values(const Checkpoint::Tensor& tensor,
                                          const std::string& place, std::int64_t first,
                                          std::int64_t count) {
  const DType dtype = tensor.info->dtype;
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16) {
    return refused("wrong-dtype",
                   fmt::format("{}: has dtype {}, expected F32, F16 or BF16; start from the "
                               "unquantized checkpoint",
                               place, name(dtype)));
  }
  const auto width = static_cast<std::int64_t>(size_bytes(dtype));
  const auto part = [&](std::int64_t begin, std::int64_t end) {
    return tensor.bytes.subspan(static_cast<std::size_t>((first + begin) * width),
                                static_cast<std::size_t>((end - begin) * width));
  };
  std::vector<float> values(static_cast<std::size_t>(count));
  std::atomic<bool> all_finite{true};
  parallel_for(count, kConvertGrain, [&](std::int64_t begin, std::int64_t end) {
    const auto target = std::span(values).subspan(static_cast<std::size_t>(begin),
                                                  static_cast<std::size_t>(end - begin));
    if (!convert(dtype, part(begin, end), target)) all_finite = false;
  });
  if (all_finite) return values;
  const auto bad = std::find_if_not(values.begin(), values.end(),
                                    [](float value) { return std::isfinite(value); });
  return refused("non-finite",
                 fmt::format("{}: value {} is {}, expected finite numbers; the checkpoint is "
                             "damaged or was trained into overflow: fetch it again or use another",
                             place, first + (bad - values.begin()), *bad));
}

}  // namespace

Result<Checkpoint> Checkpoint::open(FileSystem& files, const Path& folder) {
  Checkpoint checkpoint;
  checkpoint.files_ = &files;
  checkpoint.folder_ = folder;
  auto config = read_config(files, folder);
  if (!config) return std::move(config).error();
  checkpoint.config_ = *std::move(config);

  // One file first, as transformers looks for them.
  WeightMap weight_map;
  if (files.exists(folder / kWeightsName)) {
    auto only = SafetensorsFile::open(files, folder / kWeightsName);
    if (!only) return std::move(only).error();
    checkpoint.shards_.push_back(*std::move(only));
  } else if (files.exists(folder / kIndexName)) {
    auto index = read_index(files, folder / kIndexName);
    if (!index) return std::move(index).error();
    weight_map = *std::move(index);
    auto shards = open_shards(files, folder, weight_map);
    if (!shards) return std::move(shards).error();
    checkpoint.shards_ = *std::move(shards);
  } else {
    return refused("no-weights",
                   fmt::format("{}: has neither {} nor {}; convert the weights to safetensors",
                               folder.string(), kWeightsName, kIndexName));
  }
  if (Status placed = checkpoint.place_tensors(weight_map); !placed) return placed.error();
  return checkpoint;
}

Result<Checkpoint> Checkpoint::open_weights(FileSystem& files, const Path& file) {
  Checkpoint checkpoint;
  checkpoint.files_ = &files;
  checkpoint.folder_ = file.parent_path();
  auto weights = SafetensorsFile::open(files, file);
  if (!weights) return std::move(weights).error();
  checkpoint.shards_.push_back(*std::move(weights));
  if (Status placed = checkpoint.place_tensors({}); !placed) return placed.error();
  return checkpoint;
}

Status Checkpoint::place_tensors(const std::map<std::string, std::string>& weight_map) {
  for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
    for (const TensorInfo& tensor : shards_[shard].tensors()) {
      const auto [place, is_new] = where_.emplace(tensor.name, shard);
      if (is_new) continue;
      return refused("duplicate-tensor",
                     fmt::format("{}: is in {} too, expected it once; {}",
                                 place_of(shards_[shard].path(), tensor.name),
                                 shards_[place->second].path().string(), kFetchAgain));
    }
  }
  for (const auto& [tensor, file] : weight_map) {
    const auto place = where_.find(tensor);
    if (place != where_.end() && shards_[place->second].path().filename() == file) continue;
    return refused("not-in-shard",
                   fmt::format("{}: is not there, though {} says so; {}",
                               place_of(folder_ / file, tensor), kIndexName, kFetchAgain));
  }
  return {};
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, shard] : where_) names.push_back(name);
  return names;
}

Result<Checkpoint::Tensor> Checkpoint::tensor(const std::string& name) const {
  const auto place = where_.find(name);
  if (place == where_.end()) return missing_tensor(name, folder_);
  const SafetensorsFile& shard = shards_[place->second];
  const TensorInfo* info = shard.find(name);
  CHECK(info != nullptr);
  return Tensor{.info = info, .bytes = shard.bytes(*info)};
}

Result<std::vector<float>> Checkpoint::floats(const std::string& name,
                                              const std::vector<std::int64_t>& shape) const {
  const auto found = tensor(name);
  if (!found) return found.error();
  const std::string place = place_of(shards_[where_.at(name)].path(), name);
  if (found->info->shape != shape) {
    return refused("wrong-shape",
                   fmt::format("{}: has shape [{}], config.json asks for [{}]; check "
                               "that they belong together",
                               place, fmt::join(found->info->shape, ", "), fmt::join(shape, ", ")));
  }
  return convert_values(*found, place, 0, found->info->elements());
}

Result<std::vector<float>> Checkpoint::float_rows(const std::string& name, std::int64_t columns,
                                                  std::int64_t begin, std::int64_t end) const {
  const auto found = tensor(name);
  if (!found) return found.error();
  const std::string place = place_of(shards_[where_.at(name)].path(), name);
  const auto& shape = found->info->shape;
  if (shape.size() != 2 || shape[1] != columns || begin < 0 || begin > end || end > shape[0]) {
    return refused(
        "wrong-shape",
        fmt::format("{}: has shape [{}], expected a matrix of {} columns with rows {} to "
                    "{}; check that config.json belongs to it",
                    place, fmt::join(shape, ", "), columns, begin, end));
  }
  return convert_values(*found, place, begin * columns, (end - begin) * columns);
}

}  // namespace lowbit
