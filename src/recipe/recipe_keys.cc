#include "recipe/recipe_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <utility>

#include "format/value_grid.h"

namespace lowbit {
namespace {

template <typename Owner, typename Integer>
RecipeKey<Owner> integer(std::string key, Integer Owner::*member, Integer low, Integer high) {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    const auto* number = std::get_if<std::int64_t>(&value);
    if (number == nullptr || *number < low || *number > high) return false;
    owner.*member = static_cast<Integer>(*number);
    return true;
  };
  return {std::move(key), fmt::format("an integer from {} to {}", low, high),
          [=](const Owner& owner) { return RecipeValue(std::int64_t{owner.*member}); }, set};
}

template <typename Owner>
RecipeKey<Owner> number(std::string key, double Owner::*member, double low, double high) {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    const auto* whole = std::get_if<std::int64_t>(&value);
    const auto* real = std::get_if<double>(&value);
    if (whole == nullptr && real == nullptr) return false;
    const double wanted = real != nullptr ? *real : static_cast<double>(*whole);
    if (!std::isfinite(wanted) || wanted < low || wanted > high) return false;
    owner.*member = wanted;
    return true;
  };
  return {std::move(key), fmt::format("a number from {} to {}", low, high),
          [=](const Owner& owner) { return RecipeValue(owner.*member); }, set};
}

template <typename Owner>
RecipeKey<Owner> flag(std::string key, bool Owner::*member) {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    if (!std::holds_alternative<bool>(value)) return false;
    owner.*member = std::get<bool>(value);
    return true;
  };
  return {std::move(key), "true or false",
          [=](const Owner& owner) { return RecipeValue(owner.*member); }, set};
}

template <typename Owner>
RecipeKey<Owner> text(std::string key, std::string Owner::*member) {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    if (!std::holds_alternative<std::string>(value)) return false;
    owner.*member = std::get<std::string>(value);
    return true;
  };
  return {std::move(key), "a string",
          [=](const Owner& owner) { return RecipeValue(owner.*member); }, set};
}

template <typename Owner>
RecipeKey<Owner> texts(std::string key, std::vector<std::string> Owner::*member) {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    if (!std::holds_alternative<std::vector<std::string>>(value)) return false;
    owner.*member = std::get<std::vector<std::string>>(value);
    return true;
  };
  return {std::move(key), "a list of strings",
          [=](const Owner& owner) { return RecipeValue(owner.*member); }, set};
}

// Bits of a value that may also stay as it is.
template <typename Owner>
RecipeKey<Owner> bits_or_float(std::string key, int Owner::*member) {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    const auto* bits = std::get_if<std::int64_t>(&value);
    if (bits == nullptr || ((*bits < 2 || *bits > 8) && *bits != 16)) return false;
    owner.*member = static_cast<int>(*bits);
    return true;
  };
  return {std::move(key), "an integer from 2 to 8, or 16 for float",
          [=](const Owner& owner) { return RecipeValue(std::int64_t{owner.*member}); }, set};
}

// A group size that a layout can hold: whole bytes at every bit width, or 0 for what `zero` says.
template <typename Owner>
RecipeKey<Owner> group_size(std::string key, std::int64_t Owner::*member,
                            std::string_view zero = "a whole row") {
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    const auto* size = std::get_if<std::int64_t>(&value);
    if (size == nullptr || *size < 0 || *size > 65536 || *size % 8 != 0) return false;
    owner.*member = *size;
    return true;
  };
  return {std::move(key), fmt::format("a multiple of 8 up to 65536, or 0 for {}", zero),
          [=](const Owner& owner) { return RecipeValue(owner.*member); }, set};
}

// "a", "b" or "c".
template <typename Value>
std::string quoted_names(const std::vector<std::pair<const char*, Value>>& values) {
  std::string names;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool last = i + 1 == values.size();
    names += fmt::format("{}\"{}\"", i == 0 ? "" : last ? " or " : ", ", values[i].first);
  }
  return names;
}

// A value that has a name.
template <typename Owner, typename Value>
RecipeKey<Owner> named(std::string key, Value Owner::*member,
                       std::vector<std::pair<const char*, Value>> values) {
  std::string allowed = quoted_names(values);
  const auto get = [=](const Owner& owner) {
    const auto found = std::find_if(values.begin(), values.end(), [&](const auto& value) {
      return value.second == owner.*member;
    });
    return RecipeValue(std::string(found->first));
  };
  const auto set = [=](Owner& owner, const RecipeValue& value) {
    for (const auto& [name, meant] : values) {
      if (value != RecipeValue(std::string(name))) continue;
      owner.*member = meant;
      return true;
    }
    return false;
  };
  return {std::move(key), std::move(allowed), get, set};
}

RecipeKey<ActivationScheme> granularity() {
  return named("per", &ActivationScheme::per,
               {{"token", ActivationGranularity::token},
                {"token-group", ActivationGranularity::token_group},
                {"tensor", ActivationGranularity::tensor}});
}

// A value format brings bits and group size with it; keys after this one may only repeat them
// (plan/value-format). `scheme_of`: the scheme that a format has.
template <typename Scheme, typename SchemeOf>
RecipeKey<Scheme> format_key(const std::vector<ValueFormat>& formats, SchemeOf scheme_of) {
  std::vector<std::pair<const char*, WeightFormat>> names = {{"integer", WeightFormat::integer}};
  for (const ValueFormat& values : formats) names.emplace_back(values.name.data(), values.format);
  RecipeKey<Scheme> key = named("format", &Scheme::format, std::move(names));
  key.set = [set = key.set, scheme_of](Scheme& scheme, const RecipeValue& value) {
    if (!set(scheme, value)) return false;
    if (const ValueFormat* values = value_format(scheme.format)) scheme = scheme_of(*values);
    return true;
  };
  return key;
}

RecipeKey<WeightScheme> weight_format() {
  return format_key<WeightScheme>({value_formats().begin(), value_formats().end()},
                                  [](const ValueFormat& values) { return values.scheme; });
}

RecipeKey<ActivationScheme> activation_format() {
  std::vector<ValueFormat> formats;
  std::copy_if(value_formats().begin(), value_formats().end(), std::back_inserter(formats),
               [](const ValueFormat& values) { return values.for_inputs; });
  return format_key<ActivationScheme>(formats, input_scheme);
}

RecipeKey<ActivationScheme> clip() {
  RecipeKey<ActivationScheme> key = number("clip", &ActivationScheme::clip, 0, 1);
  key.allowed = "a number above 0 and at most 1";
  key.set = [set = key.set](ActivationScheme& scheme, const RecipeValue& value) {
    ActivationScheme wanted = scheme;
    if (!set(wanted, value) || !is_clip(wanted.clip)) return false;
    scheme = wanted;
    return true;
  };
  return key;
}

// `per` decides it; the key is there so that a recipe can say what it means.
RecipeKey<ActivationScheme> dynamic() {
  const auto get = [](const ActivationScheme& scheme) {
    return RecipeValue(scheme.per != ActivationGranularity::tensor);
  };
  return {"dynamic", "true, or false where per is \"tensor\"", get,
          [=](ActivationScheme& scheme, const RecipeValue& value) { return value == get(scheme); }};
}

// What is trained is what has a rate; a name without one would silently stay as it is.
RecipeKey<LearnSpec> trained() {
  static constexpr std::array<std::pair<const char*, double LearnSpec::*>, 7> kRates = {
      {{"scale", &LearnSpec::scale_rate},
       {"zero", &LearnSpec::zero_rate},
       {"weight", &LearnSpec::weight_rate},
       {"code", &LearnSpec::code_rate},
       {"norm", &LearnSpec::norm_rate},
       {"rounding", &LearnSpec::rounding_rate},
       {"clip", &LearnSpec::clip_rate}}};
  const auto get = [](const LearnSpec& spec) {
    std::vector<std::string> names;
    for (const auto& [name, rate] : kRates) {
      if (spec.*rate > 0) names.emplace_back(name);
    }
    return RecipeValue(names);
  };
  const auto set = [](LearnSpec& spec, const RecipeValue& value) {
    const auto* names = std::get_if<std::vector<std::string>>(&value);
    if (names == nullptr) return false;
    LearnSpec chosen = spec;
    for (const auto& [name, rate] : kRates) chosen.*rate = 0;
    for (const std::string& wanted : *names) {
      const auto* found = std::find_if(kRates.begin(), kRates.end(),
                                       [&](const auto& known) { return known.first == wanted; });
      if (found == kRates.end() || spec.*found->second == 0) return false;
      chosen.*found->second = spec.*found->second;
    }
    spec = chosen;
    return true;
  };
  return {
      "train",
      R"(a list of "scale", "zero", "weight", "code", "norm", "rounding" and "clip", each with a rate above 0)",
      get, set};
}

// The keys of a member struct, under a prefix, as keys of the whole.
template <typename Owner, typename Part>
std::vector<RecipeKey<Owner>> lifted(const std::string& prefix, Part Owner::*part,
                                     std::vector<RecipeKey<Part>> part_keys) {
  std::vector<RecipeKey<Owner>> keys;
  for (RecipeKey<Part>& key : part_keys) {
    keys.push_back(
        {prefix + key.key, key.allowed, [=](const Owner& owner) { return key.get(owner.*part); },
         [=](Owner& owner, const RecipeValue& value) { return key.set(owner.*part, value); }});
  }
  return keys;
}

template <typename Part>
void lift(std::vector<RecipeKey<Recipe>>& keys, const std::string& prefix, Part Recipe::*part,
          std::vector<RecipeKey<Part>> part_keys) {
  for (auto& key : lifted(prefix, part, std::move(part_keys))) keys.push_back(std::move(key));
}

// A kind of pass that is one value of a member, or of a member of a part.
template <typename Value>
PassKind choice(std::string_view stage, std::string_view method, Value Recipe::*member,
                Value value) {
  return {stage, method, [=](Recipe& recipe) { recipe.*member = value; },
          [=](const Recipe& recipe) { return recipe.*member == value; }};
}

template <typename Part, typename Value>
PassKind choice(std::string_view stage, std::string_view method, Part Recipe::*part,
                Value Part::*member, Value value, std::vector<RecipeKey<Part>> keys = {}) {
  return {stage, method, [=](Recipe& recipe) { recipe.*part.*member = value; },
          [=](const Recipe& recipe) { return recipe.*part.*member == value; },
          lifted("", part, std::move(keys))};
}

std::vector<PassKind> make_pass_kinds() {
  using Count = std::int64_t;
  std::vector<PassKind> kinds;
  kinds.push_back(choice("allocate", "uniform", &Recipe::allocate, std::string("uniform")));
  kinds.push_back(
      choice("allocate", "kurtosis-groups", &Recipe::allocate, std::string("kurtosis-groups")));
  kinds.back().keys = {group_size("sensitive", &Recipe::sensitive_group_size),
                       group_size("robust", &Recipe::robust_group_size)};
  const auto smooth = [&](std::string_view name, SmoothMethod method,
                          std::vector<RecipeKey<SmoothSpec>> keys = {}) {
    kinds.push_back(
        choice("smooth", name, &Recipe::smooth, &SmoothSpec::method, method, std::move(keys)));
  };
  smooth("none", SmoothMethod::none);
  smooth("smoothquant", SmoothMethod::smoothquant,
         {number("alpha", &SmoothSpec::alpha, 0, 1), flag("linears", &SmoothSpec::linears)});
  smooth("awq", SmoothMethod::awq, {flag("linears", &SmoothSpec::linears)});
  smooth("fptq", SmoothMethod::fptq,
         {number("plain_below", &SmoothSpec::plain_below, 0, 1e9),
          number("dynamic_from", &SmoothSpec::dynamic_from, 0, 1e9),
          flag("linears", &SmoothSpec::linears)});
  const std::vector<RecipeKey<TransformTraining>> training = {
      number("rate", &TransformTraining::rate, 0, 1),
      integer("epochs", &TransformTraining::epochs, Count{0}, Count{1000}),
      integer("batch", &TransformTraining::batch, Count{1}, Count{1024}),
      integer("windows", &TransformTraining::windows, Count{0}, Count{1} << 20)};
  std::vector<RecipeKey<SmoothSpec>> let = lifted("", &SmoothSpec::training, training);
  let.push_back(flag("linears", &SmoothSpec::linears));
  smooth("omniquant", SmoothMethod::omniquant, std::move(let));
  const auto rotate = [&](std::string_view name, RotateMethod method,
                          std::vector<RecipeKey<RotateSpec>> keys = {}) {
    kinds.push_back(
        choice("rotate", name, &Recipe::rotate, &RotateSpec::method, method, std::move(keys)));
  };
  rotate("none", RotateMethod::none);
  rotate("hadamard", RotateMethod::hadamard);
  rotate("kronecker", RotateMethod::kronecker, lifted("", &RotateSpec::training, training));
  for (const auto& [name, method] : {std::pair{"min-max", RangeMethod::min_max},
                                     {"mse-search", RangeMethod::mse_search},
                                     {"importance-search", RangeMethod::importance_search},
                                     {"percentile", RangeMethod::percentile},
                                     {"hqq", RangeMethod::hqq}}) {
    kinds.push_back(choice("range", name, &Recipe::range, method));
    kinds.back().keys = {named("activation_clip", &Recipe::activation_clip,
                               {{"none", ClipChoice::none}, {"search", ClipChoice::search}})};
  }
  const auto solve = [&](std::string_view name, SolveMethod method,
                         std::vector<RecipeKey<SolveSpec>> keys) {
    const std::vector<RecipeKey<SolveSpec>> shared = {
        number("damping", &SolveSpec::damping, 0, 1000),
        flag("activation_order", &SolveSpec::activation_order),
        integer("windows", &SolveSpec::windows, Count{0}, Count{1} << 20),
        integer("refit", &SolveSpec::refit, Count{0}, Count{1000}),
        named("token_weights", &SolveSpec::token_weights,
              {{"none", TokenWeights::none}, {"attention", TokenWeights::attention}}),
        number("least_token_weight", &SolveSpec::least_token_weight, 0, 1)};
    keys.insert(keys.begin(), shared.begin(), shared.end());
    kinds.push_back(
        choice("solve", name, &Recipe::solve, &SolveSpec::method, method, std::move(keys)));
  };
  const auto first_order = number("first_order", &SolveSpec::first_order, 0, 1);
  const auto polish = integer("polish", &SolveSpec::polish, Count{0}, Count{1000});
  kinds.push_back(
      choice("solve", "nearest", &Recipe::solve, &SolveSpec::method, SolveMethod::nearest));
  solve("gptq", SolveMethod::gptq, {first_order, polish});
  solve("gptaq", SolveMethod::gptaq,
        {number("asymmetry", &SolveSpec::asymmetry, 0, 1), first_order, polish});
  solve("quantease", SolveMethod::quantease,
        {integer("passes", &SolveSpec::passes, Count{1}, Count{1000})});
  kinds.push_back(choice("compensate", "none", &Recipe::compensate, Compensation::none));
  kinds.push_back(choice("compensate", "bias", &Recipe::compensate, Compensation::bias));
  kinds.push_back(choice("compensate", "low-rank", &Recipe::compensate, Compensation::low_rank));
  kinds.back().keys = lifted("", &Recipe::low_rank,
                             {integer("rank", &LowRankSpec::rank, Count{1}, Count{65536}),
                              flag("weighted", &LowRankSpec::weighted),
                              integer("rounds", &LowRankSpec::rounds, Count{1}, Count{20})});
  kinds.push_back({"learn", "block", [](Recipe& recipe) { recipe.learn.emplace_back(); }});
  kinds.push_back(choice("tune", "none", &Recipe::tune, &TuneSpec::method, TuneMethod::none));
  kinds.push_back(choice("tune", "end-to-end", &Recipe::tune, &TuneSpec::method,
                         TuneMethod::end_to_end,
                         {number("rate.scale", &TuneSpec::scale_rate, 0, 1),
                          number("rate.code", &TuneSpec::code_rate, 0, 1),
                          number("rate.norm", &TuneSpec::norm_rate, 0, 1),
                          integer("top", &TuneSpec::top, Count{0}, Count{1} << 24),
                          integer("epochs", &TuneSpec::epochs, Count{1}, Count{1000}),
                          integer("batch", &TuneSpec::batch, Count{1}, Count{1024})}));
  return kinds;
}

std::vector<RecipeKey<Recipe>> make_recipe_keys() {
  std::vector<RecipeKey<Recipe>> keys;
  keys.push_back(text("name", &Recipe::name));
  lift(keys, "scheme.weights.", &Recipe::weights,
       {weight_format(), integer("bits", &WeightScheme::bits, 2, 8),
        group_size("group_size", &WeightScheme::group_size),
        flag("symmetric", &WeightScheme::symmetric)});
  lift(keys, "scheme.activations.", &Recipe::activations,
       {activation_format(), bits_or_float("bits", &ActivationScheme::bits), granularity(),
        group_size("group_size", &ActivationScheme::group_size, "the weight's groups"),
        flag("symmetric", &ActivationScheme::symmetric), dynamic(), clip()});
  for (const auto& [table, member] :
       {std::pair{"embedding", &Recipe::embedding}, {"head", &Recipe::head}}) {
    lift(keys, fmt::format("scheme.{}.", table), member,
         {bits_or_float("bits", &WeightScheme::bits),
          group_size("group_size", &WeightScheme::group_size),
          flag("symmetric", &WeightScheme::symmetric)});
  }
  keys.push_back(bits_or_float("scheme.head.activation_bits", &Recipe::head_activation_bits));
  keys.push_back(named("scheme.kv_cache", &Recipe::kv_cache,
                       {{"f16", KvType::f16}, {"int8", KvType::int8}, {"int4", KvType::int4}}));
  keys.push_back(texts("scheme.ignore", &Recipe::ignore));
  using Count = std::int64_t;
  lift(keys, "calibration.", &Recipe::calibration,
       {integer("windows", &CalibrationSpec::windows, Count{1}, Count{1} << 20),
        integer("length", &CalibrationSpec::length, Count{2}, Count{1} << 20),
        integer("validation_windows", &CalibrationSpec::validation_windows, Count{0},
                Count{1} << 20),
        integer("seed", &CalibrationSpec::seed, Count{0}, INT64_MAX)});
  return keys;
}

std::vector<RecipeKey<LearnSpec>> make_learn_keys() {
  using Count = std::int64_t;
  return {
      number("rate.scale", &LearnSpec::scale_rate, 0, 1),
      number("rate.zero", &LearnSpec::zero_rate, 0, 1),
      number("rate.weight", &LearnSpec::weight_rate, 0, 1),
      number("rate.code", &LearnSpec::code_rate, 0, 1),
      number("rate.norm", &LearnSpec::norm_rate, 0, 1),
      number("rate.rounding", &LearnSpec::rounding_rate, 0, 1),
      number("rate.clip", &LearnSpec::clip_rate, 0, 1),
      named("optimizer", &LearnSpec::signed_steps, {{"adamw", false}, {"signsgd", true}}),
      trained(),  // after the rates, which it looks at
      flag("relative_rates", &LearnSpec::relative_rates),
      number("loss.mse", &LearnSpec::mse, 0, 1e6),
      number("loss.token_relation", &LearnSpec::token_relation, 0, 1e6),
      number("loss.sinkhorn", &LearnSpec::sinkhorn, 0, 1e6),
      flag("normalized_mse", &LearnSpec::normalized_mse),
      integer("relation_tokens", &LearnSpec::relation_tokens, Count{0}, Count{1} << 20),
      integer("epochs", &LearnSpec::epochs, Count{0}, Count{1000}),
      integer("batch", &LearnSpec::batch, Count{1}, Count{1024}),
      flag("frozen_codes", &LearnSpec::frozen_codes),
      flag("full_precision", &LearnSpec::full_precision),
      flag("keep_best", &LearnSpec::keep_best),
  };
}

}  // namespace

const std::vector<RecipeKey<Recipe>>& recipe_keys() {
  static const std::vector<RecipeKey<Recipe>> kKeys = make_recipe_keys();
  return kKeys;
}

const std::vector<RecipeKey<LearnSpec>>& learn_keys() {
  static const std::vector<RecipeKey<LearnSpec>> kKeys = make_learn_keys();
  return kKeys;
}

const std::vector<PassKind>& pass_kinds() {
  static const std::vector<PassKind> kKinds = make_pass_kinds();
  return kKinds;
}

std::vector<std::string_view> pass_stages() {
  std::vector<std::string_view> stages;
  for (const PassKind& kind : pass_kinds()) {
    if (stages.empty() || stages.back() != kind.stage) stages.push_back(kind.stage);
  }
  return stages;
}

const PassKind* find_pass(std::string_view use) {
  for (const PassKind& kind : pass_kinds()) {
    if (kind.use() == use) return &kind;
  }
  return nullptr;
}

std::string to_toml(const RecipeValue& value) {
  struct Writer {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t number) const { return fmt::format("{}", number); }
    std::string operator()(double number) const {
      const std::string digits = fmt::format("{}", number);
      // 1 would be read back as an integer; that is allowed, but a reader of the file should see a
      // real.
      return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
    }
    std::string operator()(const std::string& text) const {
      std::string quoted = "\"";
      for (const char letter : text) {
        if (letter == '"' || letter == '\\') quoted += '\\';
        if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) {
          quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(letter));
        } else {
          quoted += letter;
        }
      }
      return quoted + '"';
    }
    std::string operator()(const std::vector<std::string>& list) const {
      std::vector<std::string> quoted;
      for (const std::string& text : list) quoted.push_back((*this)(text));
      return fmt::format("[{}]", fmt::join(quoted, ", "));
    }
  };
  return std::visit(Writer{}, value);
}

}  // namespace lowbit
