#include "calib/report_json.h"

#include <fmt/format.h>

#include <algorithm>

namespace lowbit {
namespace {

double number_of(const OrderedJson& json, const char* key) {
  return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0.0;
}

std::vector<std::string> notices_of(const OrderedJson& json) {
  std::vector<std::string> notices;
  if (!json.contains("notices")) return notices;
  for (const auto& notice : json["notices"]) {
    if (notice.is_string()) notices.push_back(notice.get<std::string>());
  }
  return notices;
}

}  // namespace

OrderedJson to_json(const BlockReport& report) {
  OrderedJson json = {{"block", report.index},
                      {"loss_before", report.loss_before},
                      {"loss_after", report.loss_after},
                      {"relative_mse_before", report.mse_before},
                      {"relative_mse_after", report.mse_after},
                      {"notices", report.notices}};
  if (!report.activation_clips.empty()) json["activation_clips"] = report.activation_clips;
  return json;
}

BlockReport block_report(const OrderedJson& json) {
  BlockReport report;
  const auto number = [&](const char* key) { return number_of(json, key); };
  report.index = static_cast<std::int64_t>(number("block"));
  report.loss_before = number("loss_before");
  report.loss_after = number("loss_after");
  report.mse_before = number("relative_mse_before");
  report.mse_after = number("relative_mse_after");
  if (json.contains("activation_clips")) {
    for (const auto& clip : json["activation_clips"]) {
      if (clip.is_number()) report.activation_clips.push_back(clip.get<double>());
    }
  }
  report.notices = notices_of(json);
  return report;
}

OrderedJson to_json(const TuneReport& report) {
  return {
      {"kl_before", report.kl_before}, {"kl_after", report.kl_after}, {"notices", report.notices}};
}

TuneReport tune_report(const OrderedJson& json) {
  return {.kl_before = number_of(json, "kl_before"),
          .kl_after = number_of(json, "kl_after"),
          .seconds = 0,
          .notices = notices_of(json)};
}

std::vector<double> clips_of(const std::vector<PlannedLinear>& linears) {
  std::vector<double> clips;
  for (const PlannedLinear& planned : linears) clips.push_back(planned.scheme.activation.clip);
  return clips;
}

// The clips that a block's passes chose, from the journal's note of it.
Status restore_clips(const BlockReport& report, std::vector<PlannedLinear>& linears) {
  const std::vector<double>& clips = report.activation_clips;
  if (clips.empty()) return {};
  if (clips.size() != linears.size() || !std::all_of(clips.begin(), clips.end(), is_clip)) {
    return bad_input("journal/damaged",
                     fmt::format("the journal's note of block {} holds no clip ratio for each of "
                                 "its {} linears; run again with --restart",
                                 report.index, linears.size()));
  }
  for (std::size_t i = 0; i < clips.size(); ++i) linears[i].scheme.activation.clip = clips[i];
  return {};
}

}  // namespace lowbit
