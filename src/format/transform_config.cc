#include "format/transform_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "format/config_section.h"
#include "format/hadamard_matrix.h"
#include "format/packed_checkpoint.h"
#include "format/target_writer.h"

namespace lowbit {
namespace {

constexpr std::string_view kSylvester = "hadamard", kOurs = "lowbit-hadamard",
                           kKronecker = "lowbit-kronecker";
constexpr std::string_view kWhere = "quantization_config.transform_config";
constexpr std::size_t kGroupsLimit = 1 << 10;

using Keys = std::span<const std::string_view>;
constexpr auto kConfigKeys = std::to_array<std::string_view>({"config_groups"});
constexpr auto kGroupKeys = std::to_array<std::string_view>(
    {"type", "apply", "randomize", "requires_grad", "head_dim", "precision"});
constexpr auto kFactoredGroupKeys =
    std::to_array<std::string_view>({"type", "apply", "left", "right"});
constexpr auto kFactoredApplyKeys =
    std::to_array<std::string_view>({"targets", "location", "inverse", "ignore", "stored_with"});
constexpr auto kApplyKeys = std::span(kFactoredApplyKeys).first<kFactoredApplyKeys.size() - 1>();
constexpr std::int64_t kLargestFactor = 1 << 12;  // of a row of 2^24 values

// Sylvester's matrix is its own inverse but for a factor.
bool is_sylvester(std::int64_t size) { return hadamard_factor(size) == 1; }

bool is_factored(const OrderedJson& group) {
  const auto type = group.find("type");  // of no object: the end
  return type != group.end() && *type == kKronecker;
}

// Its factors stand beside a weight; which one, an entry says.
Result<InputTransform> read_factored(const Section& group, const Section& entry) {
  InputTransform transform;
  for (const auto& [key, size] :
       {std::pair{"left", &transform.kronecker.left}, {"right", &transform.kronecker.right}}) {
    const Result<std::int64_t> value = group.integer(key, 0);
    if (!value) return value.error();
    if (*value < 2 || *value > kLargestFactor) {
      return bad_config(group.where(key),
                        fmt::format("is {}; the size of a factor is 2 to {}; the file is damaged "
                                    "or its writer is wrong",
                                    *value, kLargestFactor));
    }
    *size = *value;
  }
  const Result<std::string> stored_with = entry.text("stored_with", "");
  if (!stored_with) return stored_with.error();
  transform.stored_with = *stored_with;
  return transform;
}

// The transform that a group of an input means.
Result<InputTransform> read_hadamard(const Section& group) {
  const Result<std::string> type = group.text("type", "");
  if (!type) return type.error();
  if (*type != kSylvester && *type != kOurs) {
    return unsupported_transform(
        group.where("type"),
        fmt::format("'{}' is not read; {}, {} and {} are", *type, kSylvester, kOurs, kKronecker));
  }
  const Result<bool> random = group.boolean("randomize", false);
  if (!random) return random.error();
  if (*random) {
    return unsupported_transform(group.where("randomize"), "random matrices are not read");
  }
  const Result<std::string> precision = group.text("precision", "float32");
  if (!precision) return precision.error();
  if (!precision->ends_with("float32") && !precision->ends_with("float64")) {
    return unsupported_transform(group.where("precision"),
                                 fmt::format("'{}' is not read; float32 is", *precision));
  }
  const Result<std::int64_t> size = group.integer("head_dim", 0);
  if (!size) return size.error();
  if (*size < 2) {
    return unsupported_transform(
        group.where("head_dim"),
        fmt::format("is {}; the size of a block, 2 or more, is needed", *size));
  }
  if (hadamard_factor(*size) == 0 || (*type == kSylvester && !is_sylvester(*size))) {
    return unsupported_transform(group.where("head_dim"),
                                 fmt::format("no '{}' matrix of size {} is known", *type, *size));
  }
  return InputTransform{.hadamard = *size};
}

// One entry of "apply"; adds the modules that it transforms at run time.
Status read_entry(const OrderedJson& json, const std::string& where, const Section& group,
                  bool factored, std::span<const Module> modules,
                  std::map<std::string, InputTransform>& result) {
  const Result<Section> section =
      Section::of(json, where, factored ? Keys(kFactoredApplyKeys) : Keys(kApplyKeys));
  if (!section) return section.error();
  const Result<std::string> location = section->text("location", "");
  if (!location) return location.error();
  if (*location == "weight_input" || *location == "weight_output") return {};  // stored so
  if (*location != "input") {
    return unsupported_transform(section->where("location"),
                                 fmt::format("'{}' is not read; input is", *location));
  }
  const Result<InputTransform> transform =
      factored ? read_factored(group, *section) : read_hadamard(group);
  if (!transform) return transform.error();
  const Result<bool> inverse = section->boolean("inverse", false);
  if (!inverse) return inverse.error();
  if (*inverse && !is_sylvester(transform->hadamard)) {
    return unsupported_transform(section->where("inverse"), "an inverse at run time is not read");
  }
  std::array<std::vector<TargetPattern>, 2> lists;  // targets, ignore
  for (std::size_t i = 0; i < lists.size(); ++i) {
    const Result<std::vector<std::string>> texts = section->texts(i == 0 ? "targets" : "ignore");
    if (!texts) return texts.error();
    Result<std::vector<TargetPattern>> patterns = parse_targets(*texts);
    if (!patterns) return patterns.error();
    lists[i] = *std::move(patterns);
  }
  bool stored_with_one = !factored;
  for (const Module& module : modules) {
    const Result<TargetMatch> wanted = closest_match(lists[0], module);
    if (!wanted) return wanted.error();
    const Result<TargetMatch> ignored = closest_match(lists[1], module);
    if (!ignored) return ignored.error();
    if (*wanted == TargetMatch::none || *ignored != TargetMatch::none) continue;
    if (!result.emplace(module.name, *transform).second) {
      return unsupported_transform(
          where, fmt::format("'{}' has a transform already; one of an input is read", module.name));
    }
    stored_with_one = stored_with_one || module.name == transform->stored_with;
  }
  if (stored_with_one) return {};
  return bad_config(section->where("stored_with"),
                    fmt::format("is '{}'; expected one of the linears that the entry transforms; "
                                "the file is damaged or its writer is wrong",
                                transform->stored_with));
}

OrderedJson entry_json(const std::vector<std::string>& targets, std::string_view location,
                       bool inverse) {
  return {{"targets", targets},
          {"location", location},
          {"inverse", inverse},
          {"ignore", OrderedJson::array()}};
}

}  // namespace

Error unsupported_transform(std::string_view where, std::string_view message) {
  return bad_input("packed/unsupported-transform",
                   fmt::format("config.json: {}: {}", where, message));
}

Result<std::map<std::string, InputTransform>> read_transforms(const OrderedJson* json,
                                                              std::span<const Module> modules) {
  std::map<std::string, InputTransform> result;
  if (json == nullptr) return result;
  const Result<Section> section = Section::of(*json, std::string(kWhere), kConfigKeys);
  if (!section) return section.error();
  const OrderedJson* groups = section->find("config_groups");
  if (groups == nullptr) return result;
  if (!groups->is_object() || groups->size() > kGroupsLimit) {
    return bad_config(section->where("config_groups"), "is no object, or too large");
  }
  for (const auto& [name, stored] : groups->items()) {
    const bool factored = is_factored(stored);
    const Result<Section> group =
        Section::of(stored, section->where("config_groups." + name),
                    factored ? Keys(kFactoredGroupKeys) : Keys(kGroupKeys));
    if (!group) return group.error();
    const OrderedJson* entries = group->find("apply");
    if (entries == nullptr) continue;
    if (!entries->is_array() || entries->size() > kGroupsLimit) {
      return bad_config(group->where("apply"), "is no list, or too long");
    }
    for (std::size_t i = 0; i < entries->size(); ++i) {
      const std::string where = group->where(fmt::format("apply[{}]", i));
      Status status = read_entry((*entries)[i], where, *group, factored, modules, result);
      if (!status) return status.error();
    }
  }
  return result;
}

bool others_know(const InputTransform& transform) {
  return !transform.any() || is_sylvester(transform.hadamard);
}

void add_transform(const std::string& linear, const InputTransform& transform,
                   std::vector<TransformedLinears>& all) {
  if (!transform.any()) return;
  auto same = std::find_if(all.begin(), all.end(), [&](const TransformedLinears& known) {
    return known.transform == transform;
  });
  if (same == all.end()) same = all.insert(all.end(), {transform, {}});
  same->linears.push_back(linear);
}

OrderedJson transforms_json(const std::vector<TransformedLinears>& all) {
  OrderedJson groups = OrderedJson::object();
  for (const auto& [transform, linears] : all) {
    const std::int64_t size = transform.hadamard;
    const std::vector<std::string> targets = compact_targets(linears);
    if (const KroneckerSize& factors = transform.kronecker; factors.any()) {
      OrderedJson& group = groups[fmt::format("kronecker_{}x{}", factors.left, factors.right)];
      if (group.is_null()) {
        group = {{"type", kKronecker},
                 {"left", factors.left},
                 {"right", factors.right},
                 {"apply", OrderedJson::array()}};
      }
      OrderedJson entry = entry_json(targets, "input", false);
      entry["stored_with"] = transform.stored_with;
      group["apply"].push_back(std::move(entry));
      continue;
    }
    groups[fmt::format("hadamard_{}", size)] = {
        {"type", is_sylvester(size) ? kSylvester : kOurs},
        {"head_dim", size},
        {"randomize", false},
        {"requires_grad", false},
        {"apply",
         {entry_json(targets, "input", false), entry_json(targets, "weight_input", true)}}};
  }
  return {{"config_groups", groups}};
}

Status check_transform(const std::string& linear, const InputTransform& transform,
                       std::int64_t in) {
  const KroneckerSize& factors = transform.kronecker;
  if (factors.any()) {
    if (factors.left * factors.right == in) return {};
    return bad_input(
        "packed/bad-config",
        fmt::format("linear '{}': a transform with factors of {} and {} is one of {} "
                    "inputs; it has {}; the config is of another model",
                    linear, factors.left, factors.right, factors.left * factors.right, in));
  }
  if (!transform.any() || in % transform.hadamard == 0) return {};
  return bad_input("packed/bad-config",
                   fmt::format("linear '{}': a transform of blocks of {} does not divide its {} "
                               "inputs",
                               linear, transform.hadamard, in));
}

}  // namespace lowbit
