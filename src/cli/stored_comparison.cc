#include "cli/stored_comparison.h"

#include <algorithm>

#include "base/sha256.h"
#include "cli/evaluation_json.h"
#include "cli/output.h"
#include "io/limits.h"

namespace lowbit {
namespace {

constexpr int kVersion = 1;

Error damaged(const Path& path, const std::string& what) {
  return bad_input("compare/damaged-result",
                   path.string() + ": " + what +
                       ", expected a result that compare wrote; remove the file or name another "
                       "output folder");
}

bool has_members(const OrderedJson& json) {
  const auto is = [&](const char* key, auto&& fits) {
    const auto found = json.find(key);
    return found != json.end() && fits(*found);
  };
  const auto text = [](const OrderedJson& value) { return value.is_string(); };
  return json.is_object() && is("run", text) && is("windows_sha256", text) &&
         is("lowbit_comparison", [](const OrderedJson& value) { return value == kVersion; }) &&
         is("quantize_seconds",
            [](const OrderedJson& value) { return value.is_null() || value.is_number(); }) &&
         is("resumed", [](const OrderedJson& value) { return value.is_boolean(); }) &&
         is("weight_bytes", [](const OrderedJson& value) { return value.is_number_unsigned(); }) &&
         is("evaluation",
            [](const OrderedJson& value) { return value.is_null() || value.is_object(); });
}

}  // namespace

std::string comparison_folder_name(const std::string& recipe) {
  std::string name = recipe;
  if (name.ends_with(".toml")) name = Path(name).stem().string();
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

Path stored_comparison_path(const Path& output, const std::string& folder_name) {
  return output / (folder_name + ".compare.json");
}

std::string windows_sha256(std::span<const std::vector<TokenId>> windows) {
  Sha256 sum;
  for (const std::vector<TokenId>& window : windows) {
    const std::uint64_t length = window.size();
    sum.update(std::as_bytes(std::span(&length, 1)));
    sum.update(std::as_bytes(std::span(window)));
  }
  return sum.hex();
}

Result<std::optional<StoredComparison>> read_stored_comparison(FileSystem& files,
                                                               const Path& path) {
  if (!files.exists(path)) return std::optional<StoredComparison>();
  const auto text = files.read(path, kMaxConfigBytes);
  if (!text) return text.error();
  const auto json = parse_ordered_json(*text);
  if (!json) return damaged(path, json.error().message);
  if (!has_members(*json)) return damaged(path, "has not the members of this version");
  StoredComparison stored;
  stored.run = (*json)["run"].get<std::string>();
  const OrderedJson& seconds = (*json)["quantize_seconds"];
  if (!seconds.is_null()) stored.quantize_seconds = seconds.get<double>();
  stored.resumed = (*json)["resumed"].get<bool>();
  stored.weight_bytes = (*json)["weight_bytes"].get<std::uint64_t>();
  stored.windows_sha256 = (*json)["windows_sha256"].get<std::string>();
  if (stored.windows_sha256.empty()) return std::optional(stored);
  const auto evaluation = read_evaluation((*json)["evaluation"]);
  if (!evaluation) return damaged(path, evaluation.error().message);
  stored.evaluation = *evaluation;
  return std::optional(stored);
}

Status write_stored_comparison(FileSystem& files, const Path& path,
                               const StoredComparison& stored) {
  const bool measured = !stored.windows_sha256.empty();
  const OrderedJson json = {
      {"lowbit_comparison", kVersion},
      {"run", stored.run},
      {"quantize_seconds",
       stored.quantize_seconds ? number_or_null(*stored.quantize_seconds) : OrderedJson(nullptr)},
      {"resumed", stored.resumed},
      {"weight_bytes", stored.weight_bytes},
      {"windows_sha256", stored.windows_sha256},
      {"evaluation", measured ? evaluation_json(stored.evaluation) : OrderedJson(nullptr)}};
  return write_whole(files, path, json.dump(2) + "\n");
}

}  // namespace lowbit
