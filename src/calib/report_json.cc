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

// What passes may choose; bits and symmetry are the plan's.
OrderedJson activation_json(const ActivationScheme& activation) {
  if (!activation.quantized()) return OrderedJson::object();
  OrderedJson json = {{"per", activation.per == ActivationGranularity::token    ? "token"
                              : activation.per == ActivationGranularity::tensor ? "tensor"
                                                                                : "token-group"}};
  if (activation.clip != 1) json["clip"] = activation.clip;
  if (activation.stores_scale()) json["scale"] = activation.scale;
  return json;
}

ActivationScheme activation_of(const OrderedJson& json) {
  ActivationScheme activation;
  if (!json.is_object() || !json.contains("per")) return activation;
  if (json["per"] == "token") activation.per = ActivationGranularity::token;
  if (json["per"] == "tensor") activation.per = ActivationGranularity::tensor;
  if (json.contains("clip")) activation.clip = number_of(json, "clip");
  activation.scale = static_cast<float>(number_of(json, "scale"));
  return activation;
}

}  // namespace

OrderedJson to_json(const BlockReport& report) {
  OrderedJson json = {{"block", report.index},
                      {"loss_before", report.loss_before},
                      {"loss_after", report.loss_after},
                      {"relative_mse_before", report.mse_before},
                      {"relative_mse_after", report.mse_after},
                      {"notices", report.notices}};
  for (const ActivationScheme& activation : report.activations) {
    json["activations"].push_back(activation_json(activation));
  }
  if (!report.low_rank_shares.empty()) json["low_rank_shares"] = report.low_rank_shares;
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
  if (json.contains("activations")) {
    for (const auto& activation : json["activations"]) {
      report.activations.push_back(activation_of(activation));
    }
  }
  if (json.contains("low_rank_shares") && json["low_rank_shares"].is_object()) {
    for (const auto& [linear, share] : json["low_rank_shares"].items()) {
      if (share.is_number()) report.low_rank_shares[linear] = share.get<double>();
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

std::vector<ActivationScheme> activations_of(const std::vector<PlannedLinear>& linears) {
  std::vector<ActivationScheme> activations;
  for (const PlannedLinear& planned : linears) activations.push_back(planned.scheme.activation);
  return activations;
}

Status restore_activations(BlockReport& report, std::vector<PlannedLinear>& linears) {
  const std::vector<ActivationScheme> chosen = std::move(report.activations);
  if (chosen.empty()) return {};
  bool sound = chosen.size() == linears.size();
  for (std::size_t i = 0; sound && i < chosen.size(); ++i) {
    ActivationScheme& activation = linears[i].scheme.activation;
    activation.per = chosen[i].per;
    activation.clip = chosen[i].clip;
    activation.scale = chosen[i].scale;
    sound = is_clip(activation.clip) && (!activation.stores_scale() || activation.scale > 0);
  }
  report.activations = activations_of(linears);
  if (sound) return {};
  return bad_input("journal/damaged",
                   fmt::format("the journal's note of block {} does not tell how the inputs of "
                               "its {} linears are quantized; run again with --restart",
                               report.index, linears.size()));
}

}  // namespace lowbit
