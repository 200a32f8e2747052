// What a plan needs against what this machine has.
#include <fmt/format.h>

#include <optional>

#include "base/available_memory.h"
#include "io/json.h"
#include "io/limits.h"
#include "recipe/plan.h"

namespace lowbit {
namespace {

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{} MB", (bytes + 999'999) / 1'000'000);
}

Status check_memory(const Plan& plan, FileSystem& files) {
  const std::optional<std::uint64_t> available = available_memory(files);
  if (!available || plan.peak_memory_bytes <= *available) return {};
  return environment_error(
      "plan/memory",
      fmt::format(
          "this run needs {} of memory and {} are available; keep the streams on disk "
          "(--offload-dir), take fewer or shorter windows (--nsamples, --seqlen), or a larger "
          "machine",
          megabytes(plan.peak_memory_bytes), megabytes(*available)));
}

// The nearest folder above a path that is there.
Path existing_folder(FileSystem& files, Path path) {
  if (path.is_relative()) path = Path(".") / path;
  while (!files.exists(path) && path.has_parent_path() && path.parent_path() != path) {
    path = path.parent_path();
  }
  return path;
}

Status check_disk(const Plan& plan, FileSystem& files, const Path& output) {
  const Path folder = existing_folder(files, output);
  const Result<std::uint64_t> free = files.free_bytes(folder);
  if (!free) return free.error();
  const std::uint64_t needed = plan.output_bytes + plan.scratch_disk_bytes;
  if (needed <= *free) return {};
  return environment_error(
      "plan/disk", fmt::format("{}: this run writes {} and the disk has {} free; free some or "
                               "choose another output folder",
                               folder.string(), megabytes(needed), megabytes(*free)));
}

bool is_lowbit_result(FileSystem& files, const Path& folder) {
  const Result<std::string> text = files.read(folder / "config.json", kMaxConfigBytes);
  if (!text) return false;
  const Result<OrderedJson> config = parse_ordered_json(*text);
  return config.ok() && config->is_object() && config->contains("lowbit");
}

// Ours may go on or be replaced: an unfinished run, a finished one (the run itself compares those
// with what is asked for), and half-written siblings, which are harmless. Anything else is not
// overwritten.
Status check_output(FileSystem& files, const Path& output) {
  if (!files.exists(output)) return {};
  const Result<FileInfo> info = files.info(output);
  if (!info) return info.error();
  if (!info->is_folder) {
    return usage_error(
        "plan/output-not-empty",
        fmt::format("{}: is a file; expected a new or empty folder", output.string()));
  }
  const Result<std::vector<std::string>> names = files.list(output);
  if (!names) return names.error();
  const auto foreign = std::find_if(names->begin(), names->end(), [](const std::string& file) {
    return !file.ends_with(".partial");
  });
  const bool unfinished =
      std::find(names->begin(), names->end(), ".lowbit-journal") != names->end();
  if (foreign == names->end() || unfinished || is_lowbit_result(files, output)) return {};
  return usage_error("plan/output-not-empty",
                     fmt::format("{}: holds '{}' and no run of ours; choose a new or empty folder",
                                 output.string(), *foreign));
}

Status check_windows(const Plan& plan) {
  const std::int64_t length = plan.recipe.calibration.length;
  if (!plan.recipe.needs_calibration() || length <= plan.model.max_positions) return {};
  return usage_error(
      "plan/window-too-long",
      fmt::format("recipe '{}': calibration.length is {} and the model has {} positions; "
                  "set a length (--seqlen) up to that",
                  plan.recipe.name, length, plan.model.max_positions));
}

}  // namespace

Status check_feasible(const Plan& plan, FileSystem& files, const Path& output) {
  Status status = check_windows(plan);
  if (status) status = check_output(files, output);
  if (status) status = check_memory(plan, files);
  if (status) status = check_disk(plan, files, output);
  return status;
}

Error holds_other_result(const Path& output) {
  return usage_error("plan/output-not-empty",
                     output.string() +
                         ": holds the result of another run (other model, recipe, text or "
                         "options); choose another folder, or --restart to replace it");
}

}  // namespace lowbit
