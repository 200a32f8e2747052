// Transforms of inputs in config.json: what we write we read, and what would change a value and is
// not computed is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/packed_checkpoint.h"

namespace lowbit {
namespace {

const std::vector<std::string> kLinears = {
    "model.layers.0.self_attn.o_proj", "model.layers.0.mlp.down_proj",
    "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.down_proj", "lm_head"};
const std::string kEmbedding = "model.embed_tokens";

OrderedJson parsed(std::string_view text) { return parse_ordered_json(text).value(); }

// As other writers have it: all down_proj, one group, blocks of 64.
OrderedJson config_with_transform() {
  return parsed(R"({"quantization_config": {
    "quant_method": "compressed-tensors", "format": "pack-quantized",
    "config_groups": {"group_0": {"targets": ["Linear"],
      "weights": {"num_bits": 4, "symmetric": true, "strategy": "group", "group_size": 32}}},
    "ignore": ["lm_head"],
    "transform_config": {"config_groups": {
      "R1": {"type": "random-hadamard", "randomize": true, "apply": [
        {"targets": ["Embedding"], "location": "weight_output", "inverse": false, "ignore": []}]},
      "R4": {"type": "hadamard", "head_dim": 64, "randomize": false, "requires_grad": false,
        "precision": "torch.float64", "apply": [
        {"targets": ["re:.*down_proj$"], "location": "input", "inverse": false, "ignore": []},
        {"targets": ["re:.*down_proj$"], "location": "weight_input", "inverse": true,
         "ignore": []}]}}}}})");
}

Result<QuantizationMap> read(const OrderedJson& config) {
  return QuantizationMap::read(config, kLinears, kEmbedding);
}

TEST(TransformConfig, ReadsAnotherWritersInputsAndSkipsItsWeights) {
  const QuantizationMap map = read(config_with_transform()).value();
  EXPECT_EQ(map.find(kLinears[1])->transform.hadamard, 64);
  EXPECT_EQ(map.find(kLinears[3])->transform.hadamard, 64);
  EXPECT_FALSE(map.find(kLinears[0])->transform.any());
  EXPECT_EQ(describe(*map.find(kLinears[1])), "W4 g32 sym, A16, H64");
}

TEST(TransformConfig, AnIgnoredModuleHasNone) {
  OrderedJson config = config_with_transform();
  config["quantization_config"]["transform_config"]["config_groups"]["R4"]["apply"][0]["ignore"] = {
      "re:.*layers\\.1\\."};
  const QuantizationMap map = read(config).value();
  EXPECT_TRUE(map.find(kLinears[1])->transform.any());
  EXPECT_FALSE(map.find(kLinears[3])->transform.any());
}

TEST(TransformConfig, IsWrittenAndReadBack) {
  const LinearScheme plain{{4, 32, false}, {4, ActivationGranularity::token_group, 32, false}};
  LinearScheme turned = plain, other = plain;
  turned.transform.hadamard = 512;
  other.transform.hadamard = 11008;
  QuantizationMap map;
  map.set(kLinears[0], plain);
  map.set(kLinears[1], turned);
  map.set(kLinears[2], other);
  map.set(kLinears[3], turned);
  OrderedJson config;
  config["quantization_config"] = map.quantization_config(kLinears);
  config["lowbit"] = LowbitInfo{}.json(map);
  EXPECT_EQ(read(config).value().schemes(), map.schemes());

  const OrderedJson& written = config["quantization_config"];
  // Their transforms make no group; ours make one of a format that others refuse.
  ASSERT_EQ(written["config_groups"].size(), 2U);
  EXPECT_EQ(written["config_groups"]["group_0"]["format"], "pack-quantized");
  EXPECT_EQ(written["config_groups"]["group_1"]["format"], "lowbit-pack-quantized");
  EXPECT_EQ(written["config_groups"]["group_1"]["targets"].size(), 1U);
  const std::string down = R"(["re:model\\.layers\\.(0|1)\\.mlp\\.down_proj$"])";
  EXPECT_EQ(written["transform_config"]["config_groups"]["hadamard_512"],
            parsed(R"({"type": "hadamard", "head_dim": 512, "randomize": false,
              "requires_grad": false, "apply": [
              {"targets": )" +
                   down + R"(, "location": "input", "inverse": false, "ignore": []},
              {"targets": )" +
                   down + R"(, "location": "weight_input", "inverse": true, "ignore": []}]})"));
  EXPECT_EQ(written["transform_config"]["config_groups"]["hadamard_11008"]["type"],
            "lowbit-hadamard");
}

// Two inputs of block 0, with factors of their own.
OrderedJson config_with_factors() {
  QuantizationMap map;
  for (const std::string& linear : {kLinears[0], kLinears[1]}) {
    map.set(linear, {{4, 32, true}, {}, {.kronecker = {16, 32}, .stored_with = linear}});
  }
  return {{"quantization_config", map.quantization_config(kLinears)}};
}

TEST(TransformConfig, FactorsAreTwoSizesAndOneEntryForEachInput) {
  const OrderedJson config = config_with_factors();
  const QuantizationMap map = read(config).value();
  const InputTransform& transform = map.find(kLinears[1])->transform;
  EXPECT_EQ(transform.kronecker, (KroneckerSize{16, 32}));
  EXPECT_EQ(transform.stored_with, kLinears[1]);
  EXPECT_EQ(describe(*map.find(kLinears[1])), "W4 g32 sym, A16, K16x32");
  const OrderedJson& group =
      config["quantization_config"]["transform_config"]["config_groups"]["kronecker_16x32"];
  EXPECT_EQ(group["type"], "lowbit-kronecker");
  EXPECT_EQ(group["apply"].size(), 2U);
  EXPECT_EQ(config["quantization_config"]["config_groups"]["group_0"]["format"],
            "lowbit-pack-quantized");
}

TEST(TransformConfig, RefusesFactorsThatSayNoTransform) {
  const std::vector<std::pair<std::string, std::string>> refusals = {
      {"/left", "null"},
      {"/left", "1"},
      {"/left", "-16"},
      {"/right", "1048576"},
      {"/right", R"("32")"},
      {"/head_dim", "512"},
      {"/apply/0/stored_with", "null"},
      {"/apply/0/stored_with", "7"},
      {"/apply/0/stored_with", R"("model.layers.0")"},
      {"/apply/0/stored_with", "\"" + kLinears[1] + "\""}};  // of another input
  for (const auto& [pointer, value] : refusals) {
    OrderedJson config = config_with_factors();
    config["quantization_config"]["transform_config"]["config_groups"]["kronecker_16x32"]
          [OrderedJson::json_pointer(pointer)] = parsed(value);
    const Result<QuantizationMap> map = read(config);
    EXPECT_EQ(map ? "none" : map.error().code, "packed/bad-config") << pointer << " = " << value;
  }
  OrderedJson config = config_with_transform();  // keys of factors in a Hadamard matrix's group
  config["quantization_config"]["transform_config"]["config_groups"]["R4"]["left"] = 16;
  EXPECT_EQ(read(config).error().code, "packed/bad-config");
}

TEST(TransformConfig, FactorsMustMultiplyToTheRow) {
  EXPECT_TRUE(check_transform("a", {.kronecker = {16, 32}}, 512).ok());
  EXPECT_EQ(check_transform("a", {.kronecker = {16, 32}}, 1024).error().code, "packed/bad-config");
}

TEST(TransformConfig, ModelsWithoutTransformsDoNotHaveTheKey) {
  QuantizationMap map;
  map.set(kLinears[0], {{4, 32, true}, {}});
  EXPECT_FALSE(map.quantization_config(kLinears).contains("transform_config"));
}

TEST(TransformConfig, RefusesByNameWhatItDoesNotCompute) {
  struct Refusal {
    std::string pointer, value, code;
  };
  const std::string bad = "packed/bad-config", unsupported = "packed/unsupported-transform";
  const std::string entry = "/config_groups/R4/apply/0";
  const std::vector<Refusal> refusals = {
      {"", "[]", bad},
      {"/colour", "1", bad},
      {"/config_groups", "[]", bad},
      {"/config_groups/R4", "[]", bad},
      {"/config_groups/R4/colour", "1", bad},
      {"/config_groups/R4/apply", "{}", bad},
      {"/config_groups/R4/type", R"("random-matrix")", unsupported},
      {"/config_groups/R4/type", "null", unsupported},
      {"/config_groups/R4/type", "7", bad},
      {"/config_groups/R4/randomize", "true", unsupported},
      {"/config_groups/R4/precision", R"("torch.bfloat16")", unsupported},
      {"/config_groups/R4/head_dim", "null", unsupported},
      {"/config_groups/R4/head_dim", "1", unsupported},
      {"/config_groups/R4/head_dim", "-64", unsupported},
      {"/config_groups/R4/head_dim", "12", unsupported},  // of theirs, powers of two alone
      {"/config_groups/R4/head_dim", "13696", unsupported},
      {"/config_groups/R4/head_dim", R"("64")", bad},
      {entry, "[]", bad},
      {entry + "/colour", "1", bad},
      {entry + "/location", R"("output")", unsupported},
      {entry + "/location", R"("k_cache")", unsupported},
      {entry + "/location", "null", unsupported},
      {entry + "/targets", R"("Linear")", bad},
      {entry + "/targets", R"(["re:("])", bad},
      {entry + "/targets", R"(["lm_head"])", unsupported},    // a float linear
      {entry + "/targets", R"(["Embedding"])", unsupported},  // its rows are looked up
      {"/config_groups/R1/apply/0", R"({"targets": ["Linear"], "location": "input"})",
       unsupported},  // random
      {"/config_groups/R1",
       R"({"type": "hadamard", "head_dim": 32, "apply": [
          {"targets": ["re:.*down_proj$"], "location": "input"}]})",
       unsupported}};  // a second transform of one input
  for (const Refusal& refusal : refusals) {
    OrderedJson config = config_with_transform();
    OrderedJson& transforms = config["quantization_config"]["transform_config"];
    transforms[OrderedJson::json_pointer(refusal.pointer)] = parsed(refusal.value);
    const Result<QuantizationMap> map = read(config);
    EXPECT_EQ(map ? "none" : map.error().code, refusal.code)
        << refusal.pointer << " = " << refusal.value;
  }
}

TEST(TransformConfig, OurMatrixIsNotItsOwnInverse) {
  OrderedJson config = config_with_transform();
  OrderedJson& group = config["quantization_config"]["transform_config"]["config_groups"]["R4"];
  group["apply"][0]["inverse"] = true;  // of Sylvester's: the same
  EXPECT_TRUE(read(config).ok());
  group["type"] = "lowbit-hadamard";
  group["head_dim"] = 96;
  EXPECT_EQ(read(config).error().code, "packed/unsupported-transform");
  group["apply"][0]["inverse"] = false;
  EXPECT_EQ(read(config).value().find(kLinears[1])->transform.hadamard, 96);
}

TEST(TransformConfig, ItsBlocksMustDivideTheRow) {
  EXPECT_TRUE(check_transform("a", {}, 100).ok());
  EXPECT_TRUE(check_transform("a", {.hadamard = 64}, 128).ok());
  EXPECT_EQ(check_transform("a", {.hadamard = 64}, 100).error().code, "packed/bad-config");
}

}  // namespace
}  // namespace lowbit
