#include "recipe/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "format/hadamard_matrix.h"
#include "format/value_grid.h"
#include "kernels/kronecker.h"
#include "recipe/estimate.h"

namespace lowbit {
namespace {

// Names match whole or at a dot: "model.layers.0.mlp.down_proj", "down_proj", "model.layers.0".
bool matches(const std::string& linear, const std::string& pattern) {
  return linear == pattern || linear.ends_with("." + pattern) || linear.starts_with(pattern + ".");
}

bool is_ignored(const Recipe& recipe, const std::string& linear) {
  return std::any_of(recipe.ignore.begin(), recipe.ignore.end(),
                     [&](const std::string& pattern) { return matches(linear, pattern); });
}

Status check_ignored_names(const Recipe& recipe, const ModelSpec& model) {
  for (const std::string& pattern : recipe.ignore) {
    // Whether the head is quantized is said by scheme.head alone; recipes name it here too, for
    // other programs do, and that is right even where it is tied to the embedding.
    bool known = pattern == "lm_head" || pattern == model.head_name;
    for (std::int64_t index = 0; index < model.blocks && !known; ++index) {
      const BlockSpec block = model.block(index);
      for (const LinearSpec* linear : block.linears())
        known = known || matches(linear->name, pattern);
    }
    if (!known) {
      return usage_error(
          "plan/ignore-unknown",
          fmt::format("recipe '{}': scheme.ignore names '{}', which is no linear of this "
                      "{}; expected a name like '{}' or its last part",
                      recipe.name, pattern, model.architecture, model.block(0).q.name));
    }
  }
  return {};
}

// Linears whose group size had to change, by (wanted, row, used): suffixes by block.
using Changed = std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>,
                         std::map<std::int64_t, std::vector<std::string>>>;

std::vector<std::string> describe_changes(const Changed& changed) {
  std::vector<std::string> notices;
  for (const auto& [sizes, by_block] : changed) {
    const auto& [wanted, row, used] = sizes;
    std::map<std::vector<std::string>, std::vector<std::int64_t>>
        blocks_of;  // same linears: one notice
    for (const auto& [block, linears] : by_block) blocks_of[linears].push_back(block);
    for (const auto& [linears, blocks] : blocks_of) {
      notices.push_back(
          fmt::format("group size {} does not divide {} inputs: {} is used for {} of "
                      "block{} {}",
                      wanted, row, used, fmt::join(linears, ", "), blocks.size() > 1 ? "s" : "",
                      fmt::join(blocks, ", ")));
    }
  }
  return notices;
}

struct GroupSizes {
  std::int64_t sensitive = 0;
  std::int64_t moderate = 0;
  std::int64_t robust = 0;

  std::int64_t of(Sensitivity sensitivity) const {
    if (sensitivity == Sensitivity::sensitive) return sensitive;
    return sensitivity == Sensitivity::robust ? robust : moderate;
  }
};

GroupSizes group_sizes(const Recipe& recipe) {
  const std::int64_t base = recipe.weights.group_size;
  if (recipe.allocate != "kurtosis-groups") return {base, base, base};
  return {recipe.sensitive_group_size, base, recipe.robust_group_size};
}

// The group size that divides the linear's row; `key` of the recipe is where another can be set.
Result<std::int64_t> group_size_of(const LinearSpec& linear, std::int64_t wanted,
                                   std::string_view key) {
  if (wanted == 0) return wanted;
  const std::int64_t fitting = fitting_group_size(linear.in, wanted);
  if (fitting > 0) return fitting;
  return bad_input("plan/group-size",
                   fmt::format("{}: a row has {} inputs, and no allowed group size up to {} (a "
                               "multiple of 8) divides it; set {}.group_size=0 for one group a "
                               "row, or leave this matrix in float",
                               linear.name, linear.in, wanted, key));
}

// That of a value format, which cannot be another.
Result<std::int64_t> value_group_size(const LinearSpec& linear, const WeightScheme& scheme) {
  const std::int64_t multiple = scheme.group_size > 0 ? scheme.group_size : 4;  // whole words
  if (linear.in % multiple == 0) return scheme.group_size;
  return bad_input("plan/group-size",
                   fmt::format("{}: a row has {} inputs, and {} needs a multiple of {}; leave it "
                               "in float (scheme.ignore) or take another format",
                               linear.name, linear.in, describe(scheme), multiple));
}

// The scheme of one linear with a group size that divides its row.
Result<LinearScheme> scheme_of(const Recipe& recipe, const LinearSpec& linear,
                               std::int64_t wanted) {
  LinearScheme scheme{.weight = recipe.weights, .activation = recipe.activations};
  if (is_ignored(recipe, linear.name)) {
    scheme.weight.bits = 16;
    scheme.activation.bits = 16;
    return scheme;
  }
  const Result<std::int64_t> size = recipe.weights.format == WeightFormat::integer
                                        ? group_size_of(linear, wanted, "scheme.weights")
                                        : value_group_size(linear, recipe.weights);
  if (!size) return size.error();
  scheme.weight.group_size = *size;
  const std::int64_t shared = scheme.weight.group_size > 0 ? scheme.weight.group_size : linear.in;
  const std::int64_t smaller = fitting_group_size(shared, scheme.activation.group_size);
  scheme.activation.group_size = smaller > 0 ? smaller : scheme.weight.group_size;
  if (scheme.activation.group_size == 0 && !scheme.activation.whole_token()) {
    scheme.activation.per = ActivationGranularity::token;
  }
  if (recipe.rotate.method == RotateMethod::hadamard && hadamard_size(linear.in) > 1) {
    scheme.transform.hadamard = hadamard_size(linear.in);
  }
  if (!recipe.adds_low_rank()) return scheme;
  scheme.low_rank.rank = recipe.low_rank.rank;
  if (recipe.low_rank.rank <= std::min(linear.out, linear.in)) return scheme;
  return usage_error(
      "plan/rank",
      fmt::format("recipe '{}': compensate.rank is {}, and {} is [{}, {}], whose rank is at most "
                  "{}; set a smaller compensate.rank, or leave this matrix in float "
                  "(scheme.ignore)",
                  recipe.name, recipe.low_rank.rank, linear.name, linear.out, linear.in,
                  std::min(linear.out, linear.in)));
}

// Learned transforms begin as Hadamard matrices. Linears that share an input share one, which is
// stored with the first of them.
void plan_factors(const BlockSpec& spec, std::vector<PlannedLinear>& linears) {
  for (const LinearSet& set : spec.input_sets()) {
    InputTransform transform{.kronecker = kronecker_size(linears[set.front()].linear.in)};
    if (!transform.kronecker.any()) continue;
    transform.factors = hadamard_factors(transform.kronecker);
    for (const std::size_t i : set) {
      if (!linears[i].scheme.weight.quantized()) continue;
      if (transform.stored_with.empty()) transform.stored_with = linears[i].linear.name;
      linears[i].scheme.transform = transform;
    }
  }
}

std::string suffix(const LinearSpec& linear, const BlockSpec& block) {
  return linear.name.substr(block.prefix.size() + 1);
}

Status plan_blocks(Plan& plan, const std::vector<Sensitivity>& split) {
  const GroupSizes sizes = group_sizes(plan.recipe);
  Changed changed;
  for (std::int64_t index = 0; index < plan.model.blocks; ++index) {
    const BlockSpec spec = plan.model.block(index);
    PlannedBlock block;
    block.sensitivity = split[static_cast<std::size_t>(index)];
    const std::int64_t wanted = sizes.of(block.sensitivity);
    for (const LinearSpec* linear : spec.linears()) {
      const Result<LinearScheme> scheme = scheme_of(plan.recipe, *linear, wanted);
      if (!scheme) return scheme.error();
      if (scheme->weight.quantized() && scheme->weight.group_size != wanted) {
        changed[{wanted, linear->in, scheme->weight.group_size}][index].push_back(
            suffix(*linear, spec));
      }
      block.linears.push_back({*linear, *scheme});
    }
    if (plan.recipe.rotate.method == RotateMethod::kronecker) plan_factors(spec, block.linears);
    plan.blocks.push_back(std::move(block));
  }
  for (std::string& notice : describe_changes(changed)) plan.notices.push_back(std::move(notice));
  const auto has_bias = [](const PlannedLinear& planned) { return planned.linear.bias; };
  const auto& linears = plan.blocks.front().linears;
  if (plan.recipe.corrects_biases() && std::none_of(linears.begin(), linears.end(), has_bias)) {
    plan.notices.emplace_back("no linear of a block has a bias: compensate.bias changes nothing");
  }
  return {};
}

// Parameters that would overwrite each other.
Status check_learn(const Recipe& recipe) {
  for (const LearnSpec& learn : recipe.learn) {
    const bool moves_weights =
        learn.weight_rate > 0 || learn.rounding_rate > 0 || learn.clip_rate > 0;
    if (learn.code_rate > 0 && (moves_weights || learn.zero_rate > 0)) {
      return usage_error(
          "plan/learn-conflict",
          fmt::format("recipe '{}': learn.rate.code trains the codes themselves; set "
                      "learn.rate.weight, learn.rate.zero, learn.rate.rounding and "
                      "learn.rate.clip to 0, or learn.rate.code",
                      recipe.name));
    }
    const bool moves_codes = moves_weights || learn.code_rate > 0;
    if (learn.clip_rate > 0 && (learn.scale_rate > 0 || learn.zero_rate > 0)) {
      return usage_error(
          "plan/learn-conflict",
          fmt::format("recipe '{}': learn.rate.clip is {} and learn.rate.scale {}, learn.rate.zero "
                      "{}; clips decide scales and zeros, so set those two rates to 0, or that of "
                      "clips",
                      recipe.name, learn.clip_rate, learn.scale_rate, learn.zero_rate));
    }
    if (learn.signed_steps && (learn.scale_rate > 0 || learn.zero_rate > 0 ||
                               learn.weight_rate > 0 || learn.code_rate > 0)) {
      return usage_error(
          "plan/learn-conflict",
          fmt::format(
              "recipe '{}': learn.optimizer is \"signsgd\", which trains roundings, clips and "
              "gains of norms; set learn.rate.scale, learn.rate.zero, learn.rate.weight "
              "and learn.rate.code to 0, or the optimizer to \"adamw\"",
              recipe.name));
    }
    if (learn.frozen_codes && moves_codes) {
      return usage_error(
          "plan/learn-conflict",
          fmt::format("recipe '{}': learn.frozen_codes fixes the codes, and learn.rate.weight, "
                      "learn.rate.code, learn.rate.rounding or learn.rate.clip moves them; set "
                      "these to 0, or "
                      "learn.frozen_codes to false",
                      recipe.name));
    }
  }
  return {};
}

std::string_view format_name(WeightFormat format) {
  const ValueFormat* values = value_format(format);
  return values == nullptr ? "integer" : values->name;
}

Error value_format_error(const Recipe& recipe, std::string_view found, std::string_view instead) {
  return usage_error("plan/value-format",
                     fmt::format("recipe '{}': scheme.weights.format is \"{}\" and {}; {}",
                                 recipe.name, format_name(recipe.weights.format), found, instead));
}

// Inputs in a value format are there beside weights in the same one, and as it has them.
Status check_input_format(const Recipe& recipe) {
  const ActivationScheme& inputs = recipe.activations;
  const ValueFormat* format = value_format(inputs.format);
  if (!inputs.quantized() || (format == nullptr && recipe.weights.format == inputs.format)) {
    return {};
  }
  const std::string found =
      fmt::format("scheme.activations.format is \"{}\"", format_name(inputs.format));
  if (inputs.format != recipe.weights.format) {
    return value_format_error(recipe, found,
                              "inputs have the weights' format or stay in float: set "
                              "scheme.activations.format to it, or scheme.activations.bits=16");
  }
  if (inputs != input_scheme(*format)) {
    return value_format_error(
        recipe, "bits, per, group_size, symmetric or clip of scheme.activations are not its own",
        "leave them out");
  }
  if (recipe.searches_clips()) {
    return value_format_error(recipe, found + ", with range.activation_clip = \"search\"",
                              "its ranges are not clipped: set range.activation_clip=none");
  }
  if (recipe.smooth.method == SmoothMethod::fptq) {
    return value_format_error(recipe, found + ", with smooth.fptq",
                              "whose static ranges are integers': take smooth=awq");
  }
  if (recipe.rotate.learns()) {
    return value_format_error(recipe, found + ", with rotate.kronecker",
                              "which learns from integers' steps: take rotate=hadamard");
  }
  return {};
}

// What is there for integers alone. A value format decides bits and groups; its weights are rounded
// by range and solve passes.
Status check_value_format(const Recipe& recipe) {
  if (Status inputs = check_input_format(recipe); !inputs) return inputs;
  const ValueFormat* values = value_format(recipe.weights.format);
  if (values == nullptr) return {};
  const auto refuse = [&](std::string_view found, std::string_view instead) {
    return value_format_error(recipe, found, instead);
  };
  if (recipe.weights != values->scheme) {
    return refuse("bits, group_size or symmetric are not what that format has",
                  fmt::format("leave them out, or set bits={}, group_size={}, symmetric=true",
                              values->scheme.bits, values->scheme.group_size));
  }
  if (recipe.allocate != "uniform") {
    return refuse(fmt::format("allocate is {}", recipe.allocate),
                  "its groups have one size: set allocate=uniform");
  }
  if (recipe.range == RangeMethod::percentile || recipe.range == RangeMethod::hqq) {
    return refuse("the range pass is for integers",
                  "set range=min-max, range=mse-search or range=importance-search");
  }
  if (recipe.solve.method != SolveMethod::nearest && recipe.solve.refit > 0) {
    return refuse("solve.refit fits scales that are free, not those of a format",
                  "set solve.refit=0");
  }
  if (!recipe.learn.empty() || recipe.tune.method != TuneMethod::none) {
    return refuse(
        recipe.learn.empty() ? "tune trains integers alone" : "learn trains integers alone",
        "take a recipe without learn and tune passes");
  }
  return {};
}

// Static ranges have no zero point.
Status check_static(const Recipe& recipe) {
  if (!recipe.may_be_static() || recipe.activations.symmetric) return {};
  return usage_error(
      "plan/asymmetric-static",
      fmt::format("recipe '{}': scheme.activations.symmetric is false, and static ranges, which {} "
                  "gives, are symmetric; set it to true",
                  recipe.name,
                  recipe.activations.is_static() ? "per = \"tensor\"" : "smooth.fptq"));
}

// What a recipe may ask of the head: a tied one is the embedding's table, and integer activations
// need integer weights.
Status check_head(const Recipe& recipe, const ModelSpec& model) {
  const bool integer_inputs = recipe.head_activation_bits < 16;
  const bool asked = recipe.head.quantized() || integer_inputs;
  if (model.tied_head && asked && (recipe.head != recipe.embedding || integer_inputs)) {
    return usage_error(
        "plan/tied-head",
        fmt::format("recipe '{}': scheme.head asks for {}, A{}, but the head of this {} is the "
                    "embedding's table, for which scheme.embedding asks {}; set scheme.embedding, "
                    "which serves both, and leave scheme.head out",
                    recipe.name, describe(recipe.head), recipe.head_activation_bits,
                    model.architecture, describe(recipe.embedding)));
  }
  if (integer_inputs && !recipe.head.quantized()) {
    return usage_error(
        "plan/float-head",
        fmt::format("recipe '{}': scheme.head.activation_bits is {} and the head's weights stay in "
                    "float; set scheme.head.bits=8 too, or leave the activations in float",
                    recipe.name, recipe.head_activation_bits));
  }
  return {};
}

Status plan_table(Plan& plan, const std::string& module, const WeightScheme& wanted,
                  std::string_view key) {
  PlannedTable table;
  table.linear = {.name = module, .out = plan.model.vocabulary, .in = plan.model.hidden};
  table.scheme.weight = wanted;
  if (wanted.quantized()) {
    const Result<std::int64_t> size = group_size_of(table.linear, wanted.group_size, key);
    if (!size) return size.error();
    table.scheme.weight.group_size = *size;
    if (*size != wanted.group_size) {
      plan.notices.push_back(
          fmt::format("group size {} does not divide {} inputs: {} is used for "
                      "{}",
                      wanted.group_size, table.linear.in, *size, module));
    }
  }
  plan.tables.push_back(std::move(table));
  return {};
}

Status plan_tables(Plan& plan) {
  const Recipe& recipe = plan.recipe;
  if (Status fits = check_head(recipe, plan.model); !fits) return fits;
  Status done = plan_table(plan, plan.model.embedding_name, recipe.embedding, "scheme.embedding");
  if (!done) return done;
  const WeightScheme& embedding = plan.tables.front().scheme.weight;
  if (plan.model.tied_head) {
    if (embedding.quantized()) {
      plan.notices.push_back(fmt::format(
          "the head is tied to the embedding: one table, {}, serves both", describe(embedding)));
    }
    return {};
  }
  done = plan_table(plan, plan.model.head_name, recipe.head, "scheme.head");
  if (!done || recipe.head_activation_bits == 16) return done;
  plan.tables.back().scheme.activation = {.bits = recipe.head_activation_bits,
                                          .per = ActivationGranularity::token,
                                          .group_size = 0,
                                          .symmetric = true};
  return {};
}

// By kurtosis where the recipe asks for it; else no block is told from another.
Result<std::vector<Sensitivity>> sensitivities(const Checkpoint& checkpoint, Plan& plan) {
  const auto blocks = static_cast<std::size_t>(plan.model.blocks);
  if (plan.recipe.allocate != "kurtosis-groups") {
    return std::vector<Sensitivity>(blocks, Sensitivity::moderate);
  }
  const Result<std::vector<BlockStatistics>> statistics = weight_statistics(checkpoint, plan.model);
  if (!statistics) return statistics.error();
  std::vector<double> kurtosis;
  for (const BlockStatistics& block : *statistics) kurtosis.push_back(block.kurtosis);
  std::vector<Sensitivity> split = split_by_sensitivity(kurtosis);
  const auto count = [&](Sensitivity wanted) {
    return std::count(split.begin(), split.end(), wanted);
  };
  if (blocks < 15) {
    plan.notices.push_back(
        fmt::format("{} blocks: the published split selects none below 15; by our rule {} "
                    "sensitive and {} robust",
                    blocks, count(Sensitivity::sensitive), count(Sensitivity::robust)));
  }
  return split;
}

Status check_quantizes_something(const Plan& plan) {
  for (const PlannedBlock& block : plan.blocks) {
    for (const PlannedLinear& planned : block.linears) {
      if (planned.scheme.weight.quantized()) return {};
    }
  }
  return usage_error(
      "plan/ignore-unknown",
      fmt::format("recipe '{}': scheme.ignore leaves every linear in float; nothing is "
                  "left to quantize",
                  plan.recipe.name));
}

}  // namespace

QuantizationMap Plan::quantization() const {
  QuantizationMap map;
  for (const PlannedBlock& block : blocks) {
    for (const PlannedLinear& planned : block.linears) {
      map.set(planned.linear.name, planned.scheme);
    }
  }
  for (const PlannedTable& table : tables) map.set(table.linear.name, table.scheme);
  return map;
}

Result<Plan> make_plan(const Checkpoint& checkpoint, const Recipe& recipe, PlanOptions options) {
  const Status is_float = check_float_weights(checkpoint);
  if (!is_float) return is_float.error();
  Result<ModelSpec> model = read_model_spec(checkpoint.config());
  if (!model) return within(checkpoint.folder() / "config.json", std::move(model).error());
  Plan plan;
  plan.recipe = recipe;
  plan.model = std::move(*model);
  Status sound = check_learn(recipe);
  if (sound) sound = check_value_format(recipe);
  if (sound) sound = check_static(recipe);
  if (sound) sound = check_ignored_names(recipe, plan.model);
  if (!sound) return sound.error();
  const Result<std::vector<Sensitivity>> split = sensitivities(checkpoint, plan);
  if (!split) return split.error();
  Status done = plan_blocks(plan, *split);
  if (done) done = check_quantizes_something(plan);
  if (done) done = plan_tables(plan);
  if (done) done = estimate(plan, checkpoint, options);
  if (!done) return done.error();
  return plan;
}

}  // namespace lowbit
