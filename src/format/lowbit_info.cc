// The "lowbit" key of config.json. The page docs/formats/packed-checkpoint.md lists its members.
#include <fmt/format.h>

#include <algorithm>

#include "format/config_section.h"
#include "format/packed_checkpoint.h"
#include "io/limits.h"

namespace lowbit {
namespace {

constexpr const char* kKey = "lowbit";
constexpr const char* kZeroPoint =
    "unlimited";  // the activation zero point may lie outside the codes

Error bad_info(std::string message) {
  return bad_input("packed/bad-config", "config.json: lowbit: " + std::move(message));
}

bool has_asymmetric_activations(const QuantizationMap& quantization) {
  return std::any_of(quantization.schemes().begin(), quantization.schemes().end(),
                     [](const auto& entry) {
                       const ActivationScheme& activation = entry.second.activation;
                       return activation.quantized() && !activation.symmetric;
                     });
}

Status check_activations(const OrderedJson& activations) {
  if (!activations.is_object()) return bad_info("'activations' is no object");
  const auto zero_point = activations.find("zero_point");
  if (zero_point == activations.end() || *zero_point != kZeroPoint) {
    return bad_info(fmt::format("activations.zero_point is {}; version {} knows \"{}\"",
                                zero_point == activations.end() ? "missing" : zero_point->dump(),
                                LowbitInfo::kVersion, kZeroPoint));
  }
  return {};
}

Result<KvType> read_kv_cache(const OrderedJson& stored) {
  const std::optional<KvType> type =
      stored.is_string() ? kv_type_named(stored.get<std::string>()) : std::nullopt;
  if (type && *type != KvType::f32) return *type;
  return bad_info(fmt::format("kv_cache is {}; version {} knows \"f16\", \"int8\" and \"int4\"",
                              Section::shown(stored), LowbitInfo::kVersion));
}

Result<std::map<std::string, std::string>> read_files(const OrderedJson& files) {
  if (!files.is_object()) return bad_info("'files' is no object");
  std::map<std::string, std::string> result;
  for (const auto& [name, sum] : files.items()) {
    if (!sum.is_string()) return bad_info(fmt::format("files: the sum of '{}' is no text", name));
    result.emplace(name, sum.get<std::string>());
  }
  return result;
}

}  // namespace

Result<std::optional<LowbitInfo>> LowbitInfo::read(const OrderedJson& config) {
  const auto found = config.find(kKey);
  if (found == config.end()) return std::optional<LowbitInfo>();
  const OrderedJson& stored = *found;
  if (!stored.is_object()) return bad_info("is no object");
  const auto version = stored.find("version");
  if (version == stored.end() || !version->is_number_integer() || *version != kVersion) {
    return bad_input(
        "packed/unknown-version",
        fmt::format("config.json: lowbit.version is {}; this program reads version {}; "
                    "use the release that wrote the checkpoint, or a newer one",
                    version == stored.end() ? "missing" : version->dump(), kVersion));
  }
  LowbitInfo info;
  for (const auto& [key, member] : {std::pair{"recipe", &info.recipe}, {"run", &info.run}}) {
    const auto text = stored.find(key);
    if (text == stored.end()) continue;
    if (!text->is_string()) return bad_info(fmt::format("'{}' is no text", key));
    *member = text->get<std::string>();
  }
  if (const auto kv_cache = stored.find("kv_cache"); kv_cache != stored.end()) {
    const Result<KvType> type = read_kv_cache(*kv_cache);
    if (!type) return type.error();
    info.kv_cache = *type;
  }
  if (const auto activations = stored.find("activations"); activations != stored.end()) {
    if (Status status = check_activations(*activations); !status) return status.error();
  }
  if (const auto files = stored.find("files"); files != stored.end()) {
    Result<std::map<std::string, std::string>> sums = read_files(*files);
    if (!sums) return sums.error();
    info.files = *std::move(sums);
  }
  return std::optional<LowbitInfo>(std::move(info));
}

OrderedJson LowbitInfo::json(const QuantizationMap& quantization) const {
  OrderedJson result = {{"version", kVersion}};
  if (!recipe.empty()) result["recipe"] = recipe;
  if (!run.empty()) result["run"] = run;
  if (kv_cache) result["kv_cache"] = name_of(*kv_cache);
  if (has_asymmetric_activations(quantization)) {
    result["activations"] = {{"zero_point", kZeroPoint}};
  }
  if (!files.empty()) result["files"] = files;
  return result;
}

namespace {

Result<std::optional<LowbitInfo>> info_of(FileSystem& files, const Path& folder) {
  const Path path = folder / "config.json";
  if (!files.exists(path)) return std::optional<LowbitInfo>();
  const auto text = files.read(path, kMaxConfigBytes);
  if (!text) return text.error();
  const auto config = parse_ordered_json(*text);
  if (!config) return within(path.string(), config.error());
  auto info = LowbitInfo::read(*config);
  if (!info) return within(folder.string(), std::move(info).error());
  return info;
}

}  // namespace

Result<std::string> completed_run(FileSystem& files, const Path& folder) {
  auto info = info_of(files, folder);
  if (!info) return std::move(info).error();
  return *info ? (*info)->run : std::string();
}

Status discard_completed(FileSystem& files, const Path& folder) {
  const auto info = info_of(files, folder);
  if (!info) return info.error();
  if (auto status = files.remove(folder / "config.json"); !status) return status;
  if (!*info) return {};
  for (const auto& [name, sum] : (*info)->files) {
    if (name.find('/') != std::string::npos) continue;
    if (auto status = files.remove(folder / name); !status) return status;
  }
  return files.sync_folder(folder);
}

}  // namespace lowbit
