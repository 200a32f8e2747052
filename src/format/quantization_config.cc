// quantization_config of config.json: read (ours and other writers') and written.
//
// Reading refuses by name all that would change a value and that we do not compute: a key that is
// not known here is an error, never skipped, because it may mean something.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "format/config_section.h"
#include "format/packed_checkpoint.h"
#include "format/target_pattern.h"
#include "format/target_writer.h"
#include "format/transform_config.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

constexpr std::string_view kMethod = "compressed-tensors";
constexpr std::string_view kMixedFormat = "mixed-precision";
// Before a format's name: the same tensors, of linears whose input is treated as no other program
// does, by a transform, a clip or a low-rank pair; and NF4. Programs that skip what they do not
// know refuse a group of such a format.
constexpr std::string_view kOwnPrefix = "lowbit-";
// The compressed-tensors whose layout we write.
constexpr std::string_view kWriterVersion = "0.18.0";

constexpr auto kOwnInputKeys = std::to_array<std::string_view>(
    {"num_bits", "type", "symmetric", "group_size", "strategy", "block_structure", "dynamic",
     "actorder", "scale_dtype", "zp_dtype", "observer", "observer_kwargs", "clip_ratio"});
constexpr auto kArgsKeys = std::span(kOwnInputKeys).first<kOwnInputKeys.size() - 1>();
constexpr auto kGroupKeys = std::to_array<std::string_view>(
    {"targets", "weights", "input_activations", "output_activations", "format", "low_rank"});
constexpr auto kConfigKeys = std::to_array<std::string_view>(
    {"quant_method", "version", "format", "quantization_status", "config_groups", "ignore",
     "kv_cache_scheme", "global_compression_ratio", "sparsity_config", "transform_config",
     "moe_sparsity_config", "run_compressed"});

// How the tensors of a weight are laid out, as compressed-tensors calls it.
struct Layout {
  WeightFormat format;
  std::string_view name;
  std::string_view strategy;         // of a value format
  std::string_view scale_dtype;      // of a value format whose scales are no plain floats
  std::string_view inputs_strategy;  // of a value format that is for inputs
};
constexpr auto kLayouts = std::to_array<Layout>(
    {{WeightFormat::integer, "pack-quantized", "", "", ""},
     {WeightFormat::nvfp4, "nvfp4-pack-quantized", "tensor_group", "torch.float8_e4m3fn",
      "tensor_group"},
     {WeightFormat::mxfp4, "mxfp4-pack-quantized", "group", "torch.uint8", "group"},
     {WeightFormat::fp8, "float-quantized", "channel", "", "token"},
     {WeightFormat::nf4, "nf4-pack-quantized", "group", "", ""}});

const Layout& layout_of(WeightFormat format) {
  return *std::find_if(kLayouts.begin(), kLayouts.end(),
                       [&](const Layout& layout) { return layout.format == format; });
}

// Scales of inputs are taken at run time; of nvfp4 under a stored one.
OrderedJson dynamic_of(const ActivationScheme& scheme) {
  if (scheme.format == WeightFormat::nvfp4) return "local";
  return !scheme.is_static();
}

bool others_know(WeightFormat format) { return format != WeightFormat::nf4; }

// A layout, or that layout for nobody but us.
struct GroupFormat {
  const Layout* layout = nullptr;
  bool own = false;

  static GroupFormat of(const LinearScheme& scheme) {
    const bool clipped = scheme.activation.quantized() && scheme.activation.clip != 1;
    const bool known = others_know(scheme.weight.format) && others_know(scheme.transform) &&
                       !clipped && !scheme.low_rank.any();
    return {&layout_of(scheme.weight.format), !known};
  }
  std::string name() const { return fmt::format("{}{}", own ? kOwnPrefix : "", layout->name); }
  bool operator==(const GroupFormat&) const = default;
};

Result<GroupFormat> read_format(const std::string& name, const std::string& where) {
  std::vector<std::string> read;
  for (const Layout& layout : kLayouts) {
    for (const bool own : {false, true}) {
      if (!own && !others_know(layout.format)) continue;
      const GroupFormat format{&layout, own};
      if (format.name() == name) return format;
      if (own != others_know(layout.format)) read.push_back(format.name());
    }
  }
  return unsupported(where, fmt::format("'{}' is not read; {} are", name, fmt::join(read, ", ")));
}

// What weights and activations say alike.
struct Arguments {
  int bits = 8;
  bool symmetric = true;
  std::string strategy;
  std::int64_t group_size = 0;
};

Result<Arguments> read_arguments(const Section& section, std::string_view wanted_type) {
  const Result<std::string> type = section.text("type", "int");
  if (!type) return type.error();
  if (*type != wanted_type) {
    return unsupported(section.where("type"),
                       fmt::format("'{}' is not read here; only {} is", *type, wanted_type));
  }
  if (Status status = section.refuse("block_structure", "blocks are not read"); !status) {
    return status.error();
  }
  const Result<std::int64_t> bits = section.integer("num_bits", 8);
  if (!bits) return bits.error();
  if (*bits < 2 || *bits > 8) {
    return unsupported(section.where("num_bits"), fmt::format("{} bits; 2 to 8 are read", *bits));
  }
  const Result<bool> symmetric = section.boolean("symmetric", true);
  if (!symmetric) return symmetric.error();
  const Result<std::int64_t> group_size = section.integer("group_size", 0);
  if (!group_size) return group_size.error();
  const std::string_view inferred = *group_size > 0   ? "group"
                                    : *group_size < 0 ? "channel"
                                                      : "tensor";
  const Result<std::string> strategy = section.text("strategy", inferred);
  if (!strategy) return strategy.error();
  if (*strategy == "group" && *group_size <= 0) {
    return bad_config(section.where("group_size"),
                      fmt::format("is {}; a group strategy needs a positive one", *group_size));
  }
  return Arguments{static_cast<int>(*bits), *symmetric, *strategy, *group_size};
}

// A value format has one scheme of weights and one of inputs; a config that says another one means
// another format.
template <typename Scheme>
Result<Scheme> value_scheme(const Layout& layout, const Scheme& scheme, std::string_view strategy,
                            const Arguments& found, const std::string& where) {
  const std::int64_t group_size = std::max<std::int64_t>(found.group_size, 0);
  if (found.bits == scheme.bits && found.symmetric && found.strategy == strategy &&
      group_size == scheme.group_size) {
    return scheme;
  }
  return unsupported(
      where, fmt::format("{} bits, {}, strategy '{}', group_size {}; of {} only {} bits, "
                         "symmetric, '{}', {} are read",
                         found.bits, found.symmetric ? "symmetric" : "asymmetric", found.strategy,
                         group_size, layout.name, scheme.bits, strategy, scheme.group_size));
}

Result<WeightScheme> read_weights(const OrderedJson& json, const std::string& where,
                                  const Layout& layout) {
  const bool integers = layout.format == WeightFormat::integer;
  const Result<Section> section = Section::of(json, where, kArgsKeys);
  if (!section) return section.error();
  const Result<Arguments> arguments = read_arguments(*section, integers ? "int" : "float");
  if (!arguments) return arguments.error();
  if (Status status = section->refuse("dynamic", "weights quantized at run time are not read");
      !status) {
    return status.error();
  }
  if (const OrderedJson* order = section->find("actorder");
      order != nullptr && *order != "static" && *order != "weight" && *order != false) {
    return unsupported(section->where("actorder"),
                       Section::shown(*order) +
                           " needs a stored permutation, which is not read; "
                           "export with null or \"static\"");
  }
  if (!integers) {
    const WeightScheme& scheme = value_format(layout.format)->scheme;
    return value_scheme(layout, scheme, layout.strategy, *arguments, where);
  }
  if (arguments->strategy != "group" && arguments->strategy != "channel") {
    return unsupported(section->where("strategy"),
                       fmt::format("'{}' is not read; group and channel are", arguments->strategy));
  }
  return WeightScheme{.bits = arguments->bits,
                      .group_size = arguments->strategy == "group" ? arguments->group_size : 0,
                      .symmetric = arguments->symmetric};
}

Result<ActivationScheme> read_activations(const OrderedJson& json, const std::string& where,
                                          std::span<const std::string_view> known) {
  const Result<Section> section = Section::of(json, where, known);
  if (!section) return section.error();
  const Result<Arguments> arguments = read_arguments(*section, "int");
  if (!arguments) return arguments.error();
  if (arguments->strategy != "group" && arguments->strategy != "token" &&
      arguments->strategy != "tensor") {
    return unsupported(
        section->where("strategy"),
        fmt::format("'{}' is not read; group, token and tensor are", arguments->strategy));
  }
  const Result<bool> dynamic = section->boolean("dynamic", false);
  if (!dynamic) return dynamic.error();
  const bool whole = arguments->strategy == "tensor";
  if (*dynamic == whole) {
    return unsupported(section->where("dynamic"),
                       whole ? "one range for a whole tensor is read where it is stored, not where "
                               "it is taken at run time; only false is"
                             : "stored ranges of tokens or groups are not read; only true is");
  }
  if (whole && !arguments->symmetric) {
    return unsupported(section->where("symmetric"),
                       "stored ranges with a zero point are not read; only true is");
  }
  const Result<double> clip = section->number("clip_ratio", 1);
  if (!clip) return clip.error();
  if (!is_clip(*clip)) {
    return bad_config(section->where("clip_ratio"),
                      fmt::format("is {}; expected a number above 0 and at most 1", *clip));
  }
  if (whole && *clip != 1) {
    return bad_config(section->where("clip_ratio"), "is of dynamic ranges; this one is stored");
  }
  ActivationScheme scheme{
      .bits = arguments->bits, .symmetric = arguments->symmetric, .clip = *clip};
  if (arguments->strategy != "group") {
    scheme.per = whole ? ActivationGranularity::tensor : ActivationGranularity::token;
    scheme.group_size = 0;
  } else {
    scheme.group_size = arguments->group_size;
  }
  return scheme;
}

Result<ActivationScheme> read_value_activations(const OrderedJson& json, const std::string& where,
                                                const Layout& layout) {
  const ValueFormat& values = *value_format(layout.format);
  if (!values.for_inputs) {
    return unsupported(where, fmt::format("inputs in {} are not read", layout.name));
  }
  const Result<Section> section = Section::of(json, where, kArgsKeys);
  if (!section) return section.error();
  const Result<Arguments> arguments = read_arguments(*section, "float");
  if (!arguments) return arguments.error();
  const ActivationScheme scheme = input_scheme(values);
  const OrderedJson* dynamic = section->find("dynamic");
  const OrderedJson found = dynamic == nullptr ? OrderedJson(false) : *dynamic;
  if (found != dynamic_of(scheme)) {
    return unsupported(section->where("dynamic"),
                       fmt::format("{} is not read; of {} only {} is", Section::shown(found),
                                   layout.name, Section::shown(dynamic_of(scheme))));
  }
  return value_scheme(layout, scheme, layout.inputs_strategy, *arguments, where);
}

struct Group {
  std::string name;
  std::vector<TargetPattern> targets;
  LinearScheme scheme;
};

// Of the low-rank pairs of a group; 0: it has none.
Result<std::int64_t> read_rank(const Section& group, const GroupFormat& format) {
  if (group.find("low_rank") == nullptr) return 0;
  if (!format.own) {
    return bad_config(group.where("low_rank"),
                      fmt::format("is known in a format of ours alone, and this one is '{}'; a "
                                  "program that skipped the pairs would compute something else",
                                  format.name()));
  }
  const Result<std::int64_t> rank = group.integer("low_rank", 0);
  if (rank && *rank < 1) {
    return bad_config(group.where("low_rank"),
                      fmt::format("is {}; expected a rank of 1 or more; the file is damaged or its "
                                  "writer is wrong",
                                  *rank));
  }
  return rank;
}

Result<Group> read_group(const std::string& name, const OrderedJson& json,
                         const std::string& general_format) {
  const Result<Section> section =
      Section::of(json, "quantization_config.config_groups." + name, kGroupKeys);
  if (!section) return section.error();
  const Result<std::string> format_name = section->text("format", general_format);
  if (!format_name) return format_name.error();
  const Result<GroupFormat> format = read_format(*format_name, section->where("format"));
  if (!format) return format.error();
  if (Status status = section->refuse("output_activations", "quantized outputs are not read");
      !status) {
    return status.error();
  }
  const OrderedJson* weights = section->find("weights");
  if (weights == nullptr)
    return unsupported(section->where("weights"), "groups without weights are not read");
  const Result<WeightScheme> weight =
      read_weights(*weights, section->where("weights"), *format->layout);
  if (!weight) return weight.error();
  Group group{.name = name, .targets = {}, .scheme = {.weight = *weight}};
  if (const OrderedJson* inputs = section->find("input_activations"); inputs != nullptr) {
    const std::string where = section->where("input_activations");
    const std::span<const std::string_view> known =
        format->own ? std::span<const std::string_view>(kOwnInputKeys) : kArgsKeys;
    const Result<ActivationScheme> activation =
        format->layout->format == WeightFormat::integer
            ? read_activations(*inputs, where, known)
            : read_value_activations(*inputs, where, *format->layout);
    if (!activation) return activation.error();
    group.scheme.activation = *activation;
  }
  const Result<std::int64_t> rank = read_rank(*section, *format);
  if (!rank) return rank.error();
  group.scheme.low_rank.rank = *rank;
  const Result<std::vector<std::string>> targets = section->texts("targets");
  if (!targets) return targets.error();
  Result<std::vector<TargetPattern>> patterns = parse_targets(*targets);
  if (!patterns) return patterns.error();
  group.targets = *std::move(patterns);
  return group;
}

// The group whose target names the module most closely; null when none does.
Result<const Group*> group_of(const Module& module, const std::vector<Group>& groups) {
  const Group* best = nullptr;
  TargetMatch best_match = TargetMatch::none;
  for (const Group& group : groups) {
    const Result<TargetMatch> match = closest_match(group.targets, module);
    if (!match) return match.error();
    if (*match == TargetMatch::none || *match < best_match) continue;
    if (*match == best_match && best->scheme != group.scheme) {
      return bad_config("quantization_config.config_groups",
                        fmt::format("module '{}' is matched by both {} and {}, which differ",
                                    module.name, best->name, group.name));
    }
    best = &group;
    best_match = *match;
  }
  return best;
}

Status check_method(const OrderedJson& json) {
  constexpr std::string_view kWhere = "quantization_config.quant_method";
  if (!json.is_object()) return bad_config("quantization_config", "is no object");
  const auto method = json.find("quant_method");
  if (method == json.end() || !method->is_string()) {
    return bad_config(kWhere, fmt::format("is missing or no text; expected \"{}\"", kMethod));
  }
  if (*method != kMethod) {
    return unsupported(kWhere, fmt::format("{} is not read; only \"{}\" ({}) is",
                                           Section::shown(*method), kMethod, kLayouts[0].name));
  }
  return {};
}

Status check_refused_parts(const Section& section) {
  constexpr auto kRefused = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"kv_cache_scheme", "a quantized KV cache is not read"},
       {"moe_sparsity_config", "sparse experts are not read"}});
  for (const auto& [key, reason] : kRefused) {
    if (Status status = section.refuse(key, reason); !status) return status;
  }
  const OrderedJson* sparsity = section.find("sparsity_config");
  if (sparsity != nullptr && !(sparsity->is_object() && sparsity->value("format", "") == "dense")) {
    if (Status status = section.refuse("sparsity_config", "sparse weights are not read"); !status) {
      return status;
    }
  }
  const Result<std::string> state = section.text("quantization_status", "compressed");
  if (!state) return state.error();
  if (*state != "compressed") {
    return unsupported(section.where("quantization_status"),
                       fmt::format("'{}' is not read; only compressed is", *state));
  }
  return {};
}

Error float_transform(const std::string& module) {
  return unsupported_transform(
      "quantization_config.transform_config",
      fmt::format("the input of '{}' is transformed, which is read for quantized linears alone",
                  module));
}

OrderedJson arguments_json(int bits, std::string_view type, bool symmetric,
                           std::string_view strategy, std::int64_t group_size) {
  OrderedJson json = {
      {"num_bits", bits}, {"type", type}, {"symmetric", symmetric}, {"strategy", strategy}};
  json["group_size"] = group_size > 0 ? OrderedJson(group_size) : OrderedJson(nullptr);
  return json;
}

// Linears of one scheme. Transforms that others know stand apart, and make no group of their own.
struct WrittenGroup {
  // Without a transform, the scale that activations store and the values of a low-rank pair.
  LinearScheme scheme;
  GroupFormat format;
  std::vector<std::string> linears;
};

void add_to_group(const std::string& linear, const LinearScheme& scheme,
                  std::vector<WrittenGroup>& groups) {
  LinearScheme bare{.weight = scheme.weight,
                    .activation = scheme.activation,
                    .transform = {},
                    .low_rank = {.rank = scheme.low_rank.rank}};
  bare.activation.scale = 0;
  const GroupFormat format = GroupFormat::of(scheme);
  auto group = std::find_if(groups.begin(), groups.end(), [&](const WrittenGroup& known) {
    return known.scheme == bare && known.format == format;
  });
  if (group == groups.end()) group = groups.insert(groups.end(), {bare, format, {}});
  group->linears.push_back(linear);
}

OrderedJson group_json(const WrittenGroup& group) {
  const LinearScheme& scheme = group.scheme;
  const WeightScheme& weight = scheme.weight;
  const Layout& layout = *group.format.layout;
  const bool integers = weight.format == WeightFormat::integer;
  const std::string_view grouping = weight.group_size > 0 ? "group" : "channel";
  OrderedJson weights = arguments_json(weight.bits, integers ? "int" : "float", weight.symmetric,
                                       integers ? grouping : layout.strategy, weight.group_size);
  weights["dynamic"] = false;
  weights["actorder"] = nullptr;
  if (!layout.scale_dtype.empty()) weights["scale_dtype"] = layout.scale_dtype;
  OrderedJson inputs = nullptr;
  if (const ActivationScheme& activation = scheme.activation; activation.quantized()) {
    const bool grouped = !activation.whole_token();
    const std::string_view whole = activation.is_static() ? "tensor" : "token";
    inputs = arguments_json(activation.bits, integers ? "int" : "float", activation.symmetric,
                            !integers ? layout.inputs_strategy
                            : grouped ? "group"
                                      : whole,
                            grouped ? activation.group_size : 0);
    inputs["dynamic"] = dynamic_of(activation);
    if (!layout.scale_dtype.empty()) inputs["scale_dtype"] = layout.scale_dtype;
    if (activation.clip != 1) inputs["clip_ratio"] = activation.clip;
  }
  OrderedJson json = {{"targets", compact_targets(group.linears)},
                      {"weights", weights},
                      {"input_activations", inputs},
                      {"output_activations", nullptr},
                      {"format", group.format.name()}};
  if (scheme.low_rank.any()) json["low_rank"] = scheme.low_rank.rank;
  return json;
}

// Of the whole config: that of all groups, where they have one. Groups of our own formats leave the
// general one to others.
std::string general_format(const std::vector<WrittenGroup>& groups) {
  const Layout& first = groups.empty() ? kLayouts[0] : *groups.front().format.layout;
  const bool mixed = std::any_of(groups.begin(), groups.end(), [&](const WrittenGroup& group) {
    return group.format.layout != &first;
  });
  if (mixed) return std::string(kMixedFormat);
  return GroupFormat{&first, !others_know(first.format)}.name();
}

}  // namespace

Result<QuantizationMap> QuantizationMap::read(const OrderedJson& config,
                                              const std::vector<std::string>& linears,
                                              const std::string& embedding) {
  QuantizationMap result;
  if (!config.is_object()) return bad_config("the file", "is no object");
  const Result<std::optional<LowbitInfo>> info = LowbitInfo::read(config);
  if (!info) return info.error();
  const auto stored = config.find("quantization_config");
  if (stored == config.end() || stored->is_null()) return result;
  if (Status status = check_method(*stored); !status) return status.error();
  const Result<Section> section = Section::of(*stored, "quantization_config", kConfigKeys);
  if (!section) return section.error();
  if (Status status = check_refused_parts(*section); !status) return status.error();
  const Result<std::string> format = section->text("format", kLayouts[0].name);
  if (!format) return format.error();

  const OrderedJson* stored_groups = section->find("config_groups");
  if (stored_groups == nullptr || !stored_groups->is_object() ||
      stored_groups->size() > kTargetsLimit) {
    return bad_config(section->where("config_groups"), "is missing, no object, or too large");
  }
  std::vector<Group> groups;
  for (const auto& [name, json] : stored_groups->items()) {
    Result<Group> group = read_group(name, json, *format);
    if (!group) return group.error();
    groups.push_back(*std::move(group));
  }
  const Result<std::vector<std::string>> ignore_texts = section->texts("ignore");
  if (!ignore_texts) return ignore_texts.error();
  const Result<std::vector<TargetPattern>> ignored = parse_targets(*ignore_texts);
  if (!ignored) return ignored.error();

  const bool rules_known = info->has_value() && config.find("lowbit")->contains("activations");
  std::vector<Module> modules;
  for (const std::string& linear : linears) modules.push_back({linear, ModuleClass::linear});
  if (!embedding.empty()) modules.push_back({embedding, ModuleClass::embedding});
  for (const Module& module : modules) {
    const Result<TargetMatch> ignore = closest_match(*ignored, module);
    if (!ignore) return ignore.error();
    if (*ignore != TargetMatch::none) continue;
    const Result<const Group*> group = group_of(module, groups);
    if (!group) return group.error();
    if (*group == nullptr) continue;
    const ActivationScheme& activation = (*group)->scheme.activation;
    if (activation.quantized() && !activation.symmetric && !rules_known) {
      return unsupported(
          section->where("config_groups." + (*group)->name),
          "asymmetric activations are read only where the 'lowbit' key tells the rule "
          "for their zero point");
    }
    if (module.kind == ModuleClass::embedding && (*group)->scheme.low_rank.any()) {
      return unsupported(section->where("config_groups." + (*group)->name + ".low_rank"),
                         fmt::format("a low-rank pair of the embedding '{}' is not read; those of "
                                     "linears are",
                                     module.name));
    }
    result.set(module.name, (*group)->scheme);
  }
  const auto transforms = read_transforms(section->find("transform_config"), modules);
  if (!transforms) return transforms.error();
  for (const auto& [name, transform] : *transforms) {
    const auto found = result.schemes_.find(name);
    if (found == result.schemes_.end() || name == embedding) return float_transform(name);
    found->second.transform = transform;
  }
  return result;
}

void QuantizationMap::set(std::string linear, LinearScheme scheme) {
  if (scheme.weight.quantized()) schemes_.insert_or_assign(std::move(linear), scheme);
}

const LinearScheme* QuantizationMap::find(const std::string& linear) const {
  const auto found = schemes_.find(linear);
  return found == schemes_.end() ? nullptr : &found->second;
}

OrderedJson QuantizationMap::quantization_config(const std::vector<std::string>& linears) const {
  // Schemes in the order of their first linear, so that the text is the same every run.
  std::vector<WrittenGroup> groups;
  std::vector<TransformedLinears> transforms;
  OrderedJson ignore = OrderedJson::array();
  for (const std::string& linear : linears) {
    const LinearScheme* scheme = find(linear);
    if (scheme == nullptr) {
      ignore.push_back(linear);
      continue;
    }
    add_to_group(linear, *scheme, groups);
    add_transform(linear, scheme->transform, transforms);
  }
  OrderedJson config_groups = OrderedJson::object();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    config_groups[fmt::format("group_{}", i)] = group_json(groups[i]);
  }
  OrderedJson config = {{"quant_method", kMethod},          {"version", kWriterVersion},
                        {"format", general_format(groups)}, {"quantization_status", "compressed"},
                        {"config_groups", config_groups},   {"ignore", ignore},
                        {"kv_cache_scheme", nullptr}};
  if (!transforms.empty()) config["transform_config"] = transforms_json(transforms);
  return config;
}

}  // namespace lowbit
