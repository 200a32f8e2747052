#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/packed_checkpoint.h"
#include "format/target_pattern.h"
#include "format/target_writer.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kLinears = {
    "model.layers.0.self_attn.q_proj",  "model.layers.0.mlp.down_proj",
    "model.layers.1.self_attn.q_proj",  "model.layers.1.mlp.down_proj",
    "model.layers.10.self_attn.q_proj", "lm_head"};

OrderedJson parsed(std::string_view text) { return parse_ordered_json(text).value(); }

// A config as llm-compressor writes it, for tests to change.
OrderedJson foreign_config() {
  return parsed(R"({"architectures": ["LlamaForCausalLM"], "quantization_config": {
    "quant_method": "compressed-tensors", "version": "0.18.0", "format": "pack-quantized",
    "quantization_status": "compressed", "global_compression_ratio": null,
    "config_groups": {"group_0": {"targets": ["Linear"], "format": "pack-quantized",
      "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group",
        "group_size": 128, "dynamic": false, "actorder": "static", "block_structure": null,
        "observer": "minmax", "observer_kwargs": {}},
      "input_activations": null, "output_activations": null}},
    "ignore": ["lm_head"], "kv_cache_scheme": null, "sparsity_config": {},
    "transform_config": {}}})");
}

OrderedJson& group_of(OrderedJson& config) {
  return config["quantization_config"]["config_groups"]["group_0"];
}

std::string error_code(const OrderedJson& config) {
  const Result<QuantizationMap> map = QuantizationMap::read(config, kLinears);
  return map ? "none" : map.error().code;
}

TEST(QuantizationConfig, FloatConfigGivesAnEmptyMap) {
  EXPECT_TRUE(QuantizationMap::read(OrderedJson::object(), kLinears).value().empty());
  EXPECT_TRUE(
      QuantizationMap::read(parsed(R"({"quantization_config": null})"), kLinears).value().empty());
}

TEST(QuantizationConfig, ReadsAnotherWritersGroupOfAClass) {
  const QuantizationMap map = QuantizationMap::read(foreign_config(), kLinears).value();
  EXPECT_EQ(map.schemes().size(), 5U);
  EXPECT_EQ(map.find("lm_head"), nullptr);
  ASSERT_NE(map.find(kLinears[0]), nullptr);
  EXPECT_EQ(map.find(kLinears[0])->weight, (WeightScheme{4, 128, true}));
  EXPECT_FALSE(map.find(kLinears[0])->activation.quantized());
}

TEST(QuantizationConfig, ReadsAChannelAndAToken) {
  OrderedJson config = foreign_config();
  group_of(config)["weights"]["strategy"] = "channel";
  group_of(config)["weights"]["group_size"] = nullptr;
  group_of(config)["input_activations"] =
      parsed(R"({"num_bits": 8, "symmetric": true, "strategy": "token", "dynamic": true})");
  const QuantizationMap map = QuantizationMap::read(config, kLinears).value();
  EXPECT_EQ(map.find(kLinears[0])->weight.group_size, 0);
  EXPECT_EQ(map.find(kLinears[0])->activation,
            (ActivationScheme{8, ActivationGranularity::token, 0, true}));
}

TEST(QuantizationConfig, ExactNamesGoBeforePatternsAndPatternsBeforeClasses) {
  OrderedJson config = foreign_config();
  OrderedJson& groups = config["quantization_config"]["config_groups"];
  groups["group_1"] = groups["group_0"];
  groups["group_1"]["targets"] = {"re:.*layers\\.1\\."};
  groups["group_1"]["weights"]["num_bits"] = 3;
  groups["group_2"] = groups["group_0"];
  groups["group_2"]["targets"] = {"model.layers.1.mlp.down_proj"};
  groups["group_2"]["weights"]["num_bits"] = 8;
  const QuantizationMap map = QuantizationMap::read(config, kLinears).value();
  EXPECT_EQ(map.find("model.layers.0.mlp.down_proj")->weight.bits, 4);
  EXPECT_EQ(map.find("model.layers.1.self_attn.q_proj")->weight.bits, 3);
  EXPECT_EQ(map.find("model.layers.1.mlp.down_proj")->weight.bits, 8);
  EXPECT_EQ(map.find("model.layers.10.self_attn.q_proj")->weight.bits, 4);
}

TEST(QuantizationConfig, RefusesALinearInTwoGroupsThatDiffer) {
  OrderedJson config = foreign_config();
  OrderedJson& groups = config["quantization_config"]["config_groups"];
  groups["group_1"] = groups["group_0"];
  EXPECT_EQ(error_code(config), "none");  // the same scheme twice leaves no doubt
  groups["group_1"]["weights"]["num_bits"] = 3;
  EXPECT_EQ(error_code(config), "packed/bad-config");
}

TEST(QuantizationConfig, NamesMethodsThatItDoesNotRead) {
  for (const char* method : {"gptq", "awq", "auto-round", "exl3", "bitsandbytes", "fp8", "mxfp4"}) {
    OrderedJson config = foreign_config();
    config["quantization_config"]["quant_method"] = method;
    const Result<QuantizationMap> map = QuantizationMap::read(config, kLinears);
    ASSERT_FALSE(map.ok());
    EXPECT_EQ(map.error().code, "packed/unsupported-method");
    EXPECT_THAT(map.error().message, HasSubstr(method));
    EXPECT_THAT(map.error().message, HasSubstr("compressed-tensors"));
  }
}

struct Refusal {
  const char* pointer;  // JSON pointer below quantization_config
  const char* value;
  const char* code;
};

TEST(QuantizationConfig, RefusesByNameWhatItCannotCompute) {
  const std::vector<Refusal> refusals = {
      {"/config_groups/group_0/weights/type", R"("float")", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/num_bits", "1", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/num_bits", "9", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/num_bits", "4.5", "packed/bad-config"},
      {"/config_groups/group_0/weights/num_bits", "1e300", "packed/bad-config"},
      {"/config_groups/group_0/weights/num_bits", "18446744073709551615", "packed/bad-config"},
      {"/config_groups/group_0/weights/group_size", "0", "packed/bad-config"},
      {"/config_groups/group_0/weights/group_size", "-5", "packed/bad-config"},
      {"/config_groups/group_0/weights/strategy", R"("block")", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/strategy", R"("tensor")", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/block_structure", "[128, 128]", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/dynamic", "true", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/actorder", R"("group")", "packed/unsupported-method"},
      {"/config_groups/group_0/weights/symmetric", R"("yes")", "packed/bad-config"},
      {"/config_groups/group_0/weights/colour", "1", "packed/bad-config"},
      {"/config_groups/group_0/weights", "null", "packed/unsupported-method"},
      {"/config_groups/group_0/format", R"("int-quantized")", "packed/unsupported-method"},
      {"/config_groups/group_0/targets", R"("Linear")", "packed/bad-config"},
      {"/config_groups/group_0/targets", R"(["re:("])", "packed/bad-config"},
      {"/config_groups/group_0/input_activations",
       R"({"num_bits": 8, "dynamic": false, "strategy": "token"})", "packed/unsupported-method"},
      {"/config_groups/group_0/input_activations",
       R"({"num_bits": 4, "dynamic": true, "strategy": "token", "symmetric": false})",
       "packed/unsupported-method"},
      {"/config_groups/group_0/output_activations", R"({"num_bits": 8})",
       "packed/unsupported-method"},
      {"/config_groups/group_0", R"(["Linear"])", "packed/bad-config"},
      {"/config_groups", "[]", "packed/bad-config"},
      {"/config_groups", "null", "packed/bad-config"},
      {"/quantization_status", R"("frozen")", "packed/unsupported-method"},
      {"/kv_cache_scheme", R"({"num_bits": 8, "type": "float"})", "packed/unsupported-method"},
      {"/sparsity_config", R"({"format": "sparse-bitmask"})", "packed/unsupported-method"},
      {"/ignore", "[3]", "packed/bad-config"},
      {"/surprise", "{}", "packed/bad-config"},
      {"", "[]", "packed/bad-config"}};
  for (const Refusal& refusal : refusals) {
    OrderedJson config = foreign_config();
    config["quantization_config"][OrderedJson::json_pointer(refusal.pointer)] =
        parsed(refusal.value);
    EXPECT_EQ(error_code(config), refusal.code) << refusal.pointer << " = " << refusal.value;
  }
}

TEST(QuantizationConfig, BoundsTheWorkOfAPattern) {
  OrderedJson config = foreign_config();
  group_of(config)["targets"] = {"re:(a|aa)+$"};
  const std::vector<std::string> linears = {std::string(60, 'a') + "b"};
  const Result<QuantizationMap> map = QuantizationMap::read(config, linears);
  ASSERT_FALSE(map.ok());
  EXPECT_EQ(map.error().code, "packed/bad-config");
}

TEST(QuantizationConfig, TakesTheEmbeddingByItsNameOrClassAndNotForALinear) {
  const std::string embedding = "model.embed_tokens";
  const auto schemes_by = [&](const std::string& target) {
    OrderedJson config = foreign_config();
    group_of(config)["targets"] = {target};
    return QuantizationMap::read(config, kLinears, embedding).value();
  };
  EXPECT_EQ(schemes_by("Linear").find(embedding), nullptr);
  EXPECT_NE(schemes_by("Embedding").find(embedding), nullptr);
  EXPECT_EQ(schemes_by("Embedding").schemes().size(), 1U);
  EXPECT_NE(schemes_by(embedding).find(embedding), nullptr);
}

TEST(QuantizationConfig, WritesEmbeddingAndHeadByName) {
  QuantizationMap map;
  map.set("model.embed_tokens", {{4, 32, false}, {}});
  map.set("lm_head", {{8, 32, false}, {}});
  const OrderedJson config = {
      {"quantization_config", map.quantization_config({"lm_head", "model.embed_tokens"})}};
  const OrderedJson& written = config["quantization_config"];
  EXPECT_EQ(written["ignore"], OrderedJson::array());
  EXPECT_EQ(written["config_groups"]["group_0"]["targets"], OrderedJson::array({"lm_head"}));
  const QuantizationMap again =
      QuantizationMap::read(config, {"lm_head"}, "model.embed_tokens").value();
  EXPECT_EQ(again.schemes(), map.schemes());
}

TEST(QuantizationConfig, WritesValueFormatsAsOthersHaveThem) {
  struct Written {
    WeightFormat format;
    const char *name, *strategy;
  };
  for (const Written& expected :
       {Written{WeightFormat::nvfp4, "nvfp4-pack-quantized", "tensor_group"},
        {WeightFormat::mxfp4, "mxfp4-pack-quantized", "group"},
        {WeightFormat::fp8, "float-quantized", "channel"},
        {WeightFormat::nf4, "lowbit-nf4-pack-quantized", "group"}}) {
    QuantizationMap map;
    const WeightScheme& scheme = value_format(expected.format)->scheme;
    map.set(kLinears[0], {scheme, {}});
    const OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
    const OrderedJson& written = config["quantization_config"];
    EXPECT_EQ(written["format"], expected.name);
    const OrderedJson& group = written["config_groups"]["group_0"];
    EXPECT_EQ(group["format"], expected.name);
    EXPECT_EQ(group["weights"]["type"], "float");
    EXPECT_EQ(group["weights"]["num_bits"], scheme.bits);
    EXPECT_EQ(group["weights"]["strategy"], expected.strategy);
    const Result<QuantizationMap> again = QuantizationMap::read(config, kLinears);
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(again->schemes(), map.schemes());
  }
}

LinearScheme both_in(WeightFormat format) {
  return {value_format(format)->scheme, input_scheme(*value_format(format))};
}

TEST(QuantizationConfig, WritesInputsInValueFormatsAsOthersHaveThem) {
  const OrderedJson float8 = parsed(R"({"num_bits": 8, "type": "float", "symmetric": true,
    "strategy": "token", "group_size": null, "dynamic": true})");
  const OrderedJson mxfp4 = parsed(R"({"num_bits": 4, "type": "float", "symmetric": true,
    "strategy": "group", "group_size": 32, "dynamic": true, "scale_dtype": "torch.uint8"})");
  const OrderedJson nvfp4 = parsed(R"({"num_bits": 4, "type": "float", "symmetric": true,
    "strategy": "tensor_group", "group_size": 16, "dynamic": "local",
    "scale_dtype": "torch.float8_e4m3fn"})");
  for (const auto& [format, expected, name] :
       {std::tuple{WeightFormat::fp8, float8, "float-quantized"},
        {WeightFormat::mxfp4, mxfp4, "mxfp4-pack-quantized"},
        {WeightFormat::nvfp4, nvfp4, "nvfp4-pack-quantized"}}) {
    QuantizationMap map;
    LinearScheme scheme = both_in(format);
    map.set(kLinears[1], scheme);
    scheme.activation.scale = scheme.activation.stores_scale() ? 3.5F : 0.0F;
    map.set(kLinears[0], scheme);  // another scale is no other group
    OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
    EXPECT_EQ(config["quantization_config"]["config_groups"].size(), 1U);
    EXPECT_EQ(group_of(config)["input_activations"], expected);
    EXPECT_EQ(group_of(config)["format"], name);
    const Result<QuantizationMap> again = QuantizationMap::read(config, kLinears);
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(*again->find(kLinears[0]), both_in(format));
  }
}

TEST(QuantizationConfig, RefusesInputsThatAreAnotherFormat) {
  for (const WeightFormat format : {WeightFormat::fp8, WeightFormat::mxfp4, WeightFormat::nvfp4}) {
    QuantizationMap map;
    map.set(kLinears[0], both_in(format));
    const OrderedJson sound = {{"quantization_config", map.quantization_config(kLinears)}};
    for (const auto& [key, value] :
         {std::pair{"group_size", "64"},
          {"num_bits", "6"},
          {"symmetric", "false"},
          {"strategy", R"("tensor")"},
          {"type", R"("int")"},
          {"dynamic", "false"},
          {"dynamic", format == WeightFormat::nvfp4 ? "true" : R"("local")"},
          {"dynamic", "null"}}) {
      OrderedJson config = sound;
      group_of(config)["input_activations"][key] = parsed(value);
      EXPECT_EQ(error_code(config), "packed/unsupported-method") << key << " = " << value;
    }
    OrderedJson config = sound;
    group_of(config)["input_activations"]["clip_ratio"] = 0.5;
    EXPECT_EQ(error_code(config), "packed/bad-config");
  }
  QuantizationMap map;
  map.set(kLinears[0], {value_format(WeightFormat::nf4)->scheme, {}});
  OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
  group_of(config)["input_activations"] = parsed(R"({"num_bits": 4, "type": "float"})");
  EXPECT_EQ(error_code(config), "packed/unsupported-method");
}

TEST(QuantizationConfig, SeveralFormatsAreMixed) {
  QuantizationMap map;
  map.set(kLinears[0], {value_format(WeightFormat::mxfp4)->scheme, {}});
  map.set("lm_head", {{8, 32, false}, {}});
  const OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
  EXPECT_EQ(config["quantization_config"]["format"], "mixed-precision");
  EXPECT_EQ(QuantizationMap::read(config, kLinears).value().schemes(), map.schemes());
}

// Others would skip a transform of ours: such a group has a format that they refuse.
TEST(QuantizationConfig, AValueFormatWithATransformOfOursIsOurs) {
  QuantizationMap map;
  map.set(kLinears[0],
          {value_format(WeightFormat::nvfp4)->scheme, {}, InputTransform{.hadamard = 12}});
  const OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
  EXPECT_EQ(config["quantization_config"]["config_groups"]["group_0"]["format"],
            "lowbit-nvfp4-pack-quantized");
  EXPECT_EQ(QuantizationMap::read(config, kLinears).value().schemes(), map.schemes());
}

TEST(QuantizationConfig, RefusesAValueFormatThatIsAnother) {
  QuantizationMap map;
  map.set(kLinears[0], {value_format(WeightFormat::nvfp4)->scheme, {}});
  const OrderedJson sound = {{"quantization_config", map.quantization_config(kLinears)}};
  for (const auto& [pointer, value] :
       {std::pair{"weights/group_size", "32"},
        {"weights/num_bits", "8"},
        {"weights/symmetric", "false"},
        {"weights/strategy", R"("group")"},
        {"weights/type", R"("int")"},
        {"format", R"("nf4-pack-quantized")"},
        {"format", R"("mxfp8-quantized")"},
        {"input_activations", R"({"num_bits": 4, "type": "float", "dynamic": "local"})"}}) {
    OrderedJson config = sound;
    config["quantization_config"]
          [OrderedJson::json_pointer(std::string("/config_groups/group_0/") + pointer)] =
              parsed(value);
    EXPECT_EQ(error_code(config), "packed/unsupported-method") << pointer << " = " << value;
  }
}

TEST(TargetPattern, MeansWhatPythonsMatchMeans) {
  const auto match = [](std::string_view target, const std::string& name) {
    return TargetPattern::parse(target).value().match(name, ModuleClass::linear).value();
  };
  EXPECT_EQ(match("re:model", "model.layers"), TargetMatch::by_pattern);  // no end is implied
  EXPECT_EQ(match("re:layers", "model.layers"), TargetMatch::none);       // the start is
  EXPECT_EQ(match("re:a|layers", "model.layers"), TargetMatch::none);     // of each alternative
  EXPECT_EQ(match("re:.*layers$", "model.layers"), TargetMatch::by_pattern);
  EXPECT_EQ(match("model.layers", "model.layers"), TargetMatch::exact);
  EXPECT_EQ(match("model", "model.layers"), TargetMatch::none);
  EXPECT_EQ(match("Linear", "model.layers"), TargetMatch::by_class);
  EXPECT_EQ(match("Embedding", "model.layers"), TargetMatch::none);
}

TEST(TargetWriter, JoinsLinearsOfTheSameBlocks) {
  EXPECT_THAT(compact_targets(kLinears),
              ElementsAre("lm_head", R"(re:model\.layers\.(0|1|10)\.self_attn\.q_proj$)",
                          R"(re:model\.layers\.(0|1)\.mlp\.down_proj$)"));
  EXPECT_THAT(compact_targets({"m.3.a", "m.3.b"}), ElementsAre(R"(re:m\.3\.(a|b)$)"));
}

QuantizationMap three_schemes() {
  QuantizationMap map;
  const ActivationScheme a4{4, ActivationGranularity::token_group, 32, false};
  map.set(kLinears[0], {{4, 32, false}, a4});
  map.set(kLinears[1], {{4, 32, false}, a4});
  map.set(kLinears[2], {{3, 0, true}, {8, ActivationGranularity::token, 0, true}});
  map.set(kLinears[4], {{2, 256, false}, {}});
  map.set(kLinears[3], {{.bits = 16}, {}});  // not entered
  return map;
}

TEST(QuantizationConfig, ReadsBackWhatItWrites) {
  const QuantizationMap map = three_schemes();
  OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
  config["lowbit"] = LowbitInfo{}.json(map);
  const QuantizationMap again = QuantizationMap::read(config, kLinears).value();
  EXPECT_EQ(again.schemes(), map.schemes());
  EXPECT_EQ(again.quantization_config(kLinears), map.quantization_config(kLinears));
}

// The file of one linear with 3-bit activations of this clip.
OrderedJson clipped_config(double clip) {
  QuantizationMap map;
  map.set(kLinears[0], {{4, 32, false}, {3, ActivationGranularity::token_group, 32, false, clip}});
  OrderedJson config = {{"quantization_config", map.quantization_config({kLinears[0]})}};
  config["lowbit"] = LowbitInfo{}.json(map);
  return config;
}

TEST(QuantizationConfig, ReadsBackAClipAndKeepsItFromOtherPrograms) {
  OrderedJson config = clipped_config(.85);
  EXPECT_EQ(group_of(config)["format"], "lowbit-pack-quantized");
  EXPECT_EQ(group_of(config)["input_activations"]["clip_ratio"].dump(), "0.85");
  EXPECT_EQ(QuantizationMap::read(config, kLinears).value().find(kLinears[0])->activation.clip,
            .85);
  config = clipped_config(1);
  EXPECT_EQ(group_of(config)["format"], "pack-quantized");
  EXPECT_FALSE(group_of(config)["input_activations"].contains("clip_ratio"));
}

TEST(QuantizationConfig, StaticScalesStandBesideTheWeightsNotInTheConfig) {
  QuantizationMap map;
  ActivationScheme activation{8, ActivationGranularity::tensor, 0, true};
  for (const std::size_t i : {0U, 1U}) {
    activation.scale = .5F + static_cast<float>(i);
    map.set(kLinears[i], {{4, 32, false}, activation});
  }
  OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
  ASSERT_EQ(config["quantization_config"]["config_groups"].size(), 1U);
  const OrderedJson& inputs = group_of(config)["input_activations"];
  EXPECT_EQ(inputs["strategy"], "tensor");
  EXPECT_EQ(inputs["dynamic"], false);
  EXPECT_EQ(group_of(config)["format"], "pack-quantized");
  activation.scale = 0;
  EXPECT_EQ(QuantizationMap::read(config, kLinears).value().find(kLinears[1])->activation,
            activation);
  for (const char* changed :
       {R"({"dynamic": true})", R"({"symmetric": false})", R"({"strategy": "token"})"}) {
    OrderedJson other = config;
    group_of(other)["input_activations"].update(parsed(changed));
    EXPECT_EQ(error_code(other), "packed/unsupported-method") << changed;
  }
  group_of(config)["format"] = "lowbit-pack-quantized";
  group_of(config)["input_activations"]["clip_ratio"] = .5;
  EXPECT_EQ(error_code(config), "packed/bad-config") << "a clip of a stored range";
}

TEST(QuantizationConfig, LinearsThatDifferInTheirClipAloneAreGroupsOfTheirOwn) {
  QuantizationMap map;
  for (const std::size_t i : {0U, 1U, 2U, 3U}) {
    const double clip = i == 2 ? 1 : .8;
    map.set(kLinears[i], {{4, 32, false}, {3, ActivationGranularity::token, 0, true, clip}});
  }
  const OrderedJson config = {{"quantization_config", map.quantization_config(kLinears)}};
  EXPECT_EQ(config["quantization_config"]["config_groups"].size(), 2U);
  EXPECT_EQ(QuantizationMap::read(config, kLinears).value().schemes(), map.schemes());
}

TEST(QuantizationConfig, RefusesAClipThatIsNoRatioOrThatNothingUses) {
  for (const char* value : {"0", "-0.5", "1.0001", "1e300", "1e-60", R"("0.9")", "true", "[0.9]"}) {
    OrderedJson config = clipped_config(.9);
    group_of(config)["input_activations"]["clip_ratio"] = parsed(value);
    EXPECT_EQ(error_code(config), "packed/bad-config") << value;
  }
  OrderedJson of_weights = clipped_config(.9);
  group_of(of_weights)["weights"]["clip_ratio"] = .9;
  EXPECT_EQ(error_code(of_weights), "packed/bad-config");
  OrderedJson of_anothers_format = clipped_config(.9);
  group_of(of_anothers_format)["format"] = "pack-quantized";
  EXPECT_EQ(error_code(of_anothers_format), "packed/bad-config");
}

// Without activations there is nothing to clip, and no reason to keep others from the file.
TEST(QuantizationConfig, WritesNoClipOfFloatActivations) {
  QuantizationMap map;
  map.set(kLinears[0], {{4, 32, false}, {.bits = 16, .clip = .9}});
  EXPECT_EQ(map.quantization_config({kLinears[0]})["config_groups"]["group_0"]["format"],
            "pack-quantized");
}

// The file of two linears, the first with a pair of this rank.
OrderedJson low_rank_config(std::int64_t rank) {
  QuantizationMap map;
  const auto pair = std::make_shared<LowRankPair>();  // beside the weight, not here
  map.set(kLinears[0], {.weight = {4, 32, false}, .low_rank = {rank, pair}});
  map.set(kLinears[1], {.weight = {4, 32, false}});
  return {{"quantization_config", map.quantization_config({kLinears[0], kLinears[1]})}};
}

TEST(QuantizationConfig, ReadsBackARankAndKeepsItFromOtherPrograms) {
  OrderedJson config = low_rank_config(8);
  EXPECT_EQ(group_of(config)["format"], "lowbit-pack-quantized");
  EXPECT_EQ(group_of(config)["low_rank"], 8);
  const OrderedJson& plain = config["quantization_config"]["config_groups"]["group_1"];
  EXPECT_EQ(plain["format"], "pack-quantized");
  EXPECT_FALSE(plain.contains("low_rank"));
  const QuantizationMap map = QuantizationMap::read(config, kLinears).value();
  EXPECT_EQ(map.find(kLinears[0])->low_rank, LowRank{.rank = 8});
  EXPECT_EQ(map.find(kLinears[1])->low_rank, LowRank{});
}

TEST(QuantizationConfig, RefusesARankThatIsNone) {
  for (const char* value : {"0", "-1", "1.5", "1e300", R"("8")", "true", "[8]"}) {
    OrderedJson config = low_rank_config(8);
    group_of(config)["low_rank"] = parsed(value);
    EXPECT_EQ(error_code(config), "packed/bad-config") << value;
  }
  OrderedJson of_anothers_format = low_rank_config(8);
  group_of(of_anothers_format)["format"] = "pack-quantized";
  EXPECT_EQ(error_code(of_anothers_format), "packed/bad-config");
  OrderedJson of_an_embedding = low_rank_config(8);
  group_of(of_an_embedding)["targets"] = {"model.embed_tokens"};
  EXPECT_EQ(QuantizationMap::read(of_an_embedding, kLinears, "model.embed_tokens").error().code,
            "packed/unsupported-method");
}

TEST(QuantizationConfig, WritesAGroupForEachSchemeAndIgnoresTheRestByName) {
  const OrderedJson written = three_schemes().quantization_config(kLinears);
  EXPECT_EQ(written["config_groups"].size(), 3U);
  EXPECT_EQ(written["ignore"], OrderedJson({"model.layers.1.mlp.down_proj", "lm_head"}));
  const OrderedJson& group = written["config_groups"]["group_0"];
  EXPECT_EQ(group["format"], "pack-quantized");
  EXPECT_EQ(group["weights"], parsed(R"({"num_bits": 4, "type": "int", "symmetric": false,
      "strategy": "group", "group_size": 32, "dynamic": false, "actorder": null})"));
  EXPECT_EQ(group["input_activations"], parsed(R"({"num_bits": 4, "type": "int",
      "symmetric": false, "strategy": "group", "group_size": 32, "dynamic": true})"));
  EXPECT_EQ(written["config_groups"]["group_1"]["weights"]["strategy"], "channel");
}

TEST(LowbitInfo, ReadsBackWhatItWrites) {
  const LowbitInfo info{.recipe = "frm-w4a4", .run = "12ab", .files = {{"a.safetensors", "00ff"}}};
  const OrderedJson config = {{"lowbit", info.json(three_schemes())}};
  const LowbitInfo again = LowbitInfo::read(config).value().value();
  EXPECT_EQ(again.recipe, info.recipe);
  EXPECT_EQ(again.run, info.run);
  EXPECT_EQ(again.files, info.files);
  EXPECT_EQ(config["lowbit"]["activations"]["zero_point"], "unlimited");
}

TEST(LowbitInfo, ReadsBackTheTypeOfKeysAndValues) {
  const auto read_back = [](const LowbitInfo& info) {
    const OrderedJson config = {{"lowbit", info.json(three_schemes())}};
    return LowbitInfo::read(config).value().value().kv_cache;
  };
  for (const KvType type : {KvType::f16, KvType::int8, KvType::int4}) {
    EXPECT_EQ(read_back({.kv_cache = type}), type);
  }
  EXPECT_EQ(read_back({}), std::nullopt);
  EXPECT_FALSE(LowbitInfo{}.json(three_schemes()).contains("kv_cache"));
}

TEST(LowbitInfo, RefusesATypeOfKeysAndValuesThatItDoesNotKnow) {
  OrderedJson config = foreign_config();
  for (const char* value : {R"("f32")", R"("int2")", R"("")", "4", "null", "true", R"(["int4"])"}) {
    config["lowbit"] = {{"version", 1}, {"kv_cache", parsed(value)}};
    EXPECT_EQ(error_code(config), "packed/bad-config") << value;
    const auto read = LowbitInfo::read(config);
    ASSERT_FALSE(read.ok());
    EXPECT_THAT(read.error().message, HasSubstr("lowbit: kv_cache is")) << value;
    EXPECT_THAT(read.error().message, HasSubstr("\"int8\" and \"int4\"")) << value;
  }
}

TEST(LowbitInfo, RefusesAnUnknownVersionAndAnUnknownRule) {
  OrderedJson config = foreign_config();
  for (const char* version : {"2", "0", "\"1\"", "null", "1.0"}) {
    config["lowbit"] = {{"version", parsed(version)}};
    EXPECT_EQ(error_code(config), "packed/unknown-version") << version;
  }
  config["lowbit"] = OrderedJson::object();
  EXPECT_EQ(error_code(config), "packed/unknown-version");
  config["lowbit"] = {{"version", 1}, {"activations", {{"zero_point", "clamped"}}}};
  EXPECT_EQ(error_code(config), "packed/bad-config");
  config["lowbit"] = {{"version", 1}, {"files", {{"a", 3}}}};
  EXPECT_EQ(error_code(config), "packed/bad-config");
  config["lowbit"] = 3;
  EXPECT_EQ(error_code(config), "packed/bad-config");
  EXPECT_FALSE(LowbitInfo::read(OrderedJson::object()).value().has_value());
}

}  // namespace
}  // namespace lowbit
