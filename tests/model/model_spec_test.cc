#include "model/model_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numbers>

#include "model/configs.h"

namespace lowbit {
namespace {

using test::config_of;
using test::llama_config;
using test::opt_config;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelSpec spec_of(const OrderedJson& config) {
  Result<ModelSpec> spec = read_model_spec(config);
  EXPECT_TRUE(spec.ok()) << (spec.ok() ? "" : spec.error().message);
  return spec.ok() ? *spec : ModelSpec{};
}

std::vector<std::string> linear_names(const BlockSpec& block) {
  std::vector<std::string> names;
  for (const LinearSpec* linear : block.linears()) names.push_back(linear->name);
  return names;
}

TEST(ModelSpec, DescribesALlamaBlock) {
  const ModelSpec spec = spec_of(llama_config());
  EXPECT_EQ(spec.head_dim, 16);
  EXPECT_EQ(spec.rope->theta, 500000.0);
  EXPECT_FALSE(spec.tied_head);
  EXPECT_EQ(spec.head_name, "lm_head");
  EXPECT_EQ(spec.bos_token, 1);
  const BlockSpec block = spec.block(1);
  EXPECT_THAT(linear_names(block),
              ElementsAre("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj",
                          "model.layers.1.self_attn.v_proj", "model.layers.1.self_attn.o_proj",
                          "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj",
                          "model.layers.1.mlp.down_proj"));
  EXPECT_EQ(block.k.out, 32);
  EXPECT_EQ(block.k.in, 64);
  EXPECT_EQ(block.down.in, 96);
  EXPECT_FALSE(block.q.bias);
}

TEST(ModelSpec, DescribesAnOptBlock) {
  const ModelSpec spec = spec_of(opt_config());
  EXPECT_FALSE(spec.rope);
  EXPECT_EQ(spec.position_offset, 2);
  EXPECT_TRUE(spec.tied_head);
  EXPECT_EQ(spec.head_name, "model.decoder.embed_tokens");
  const BlockSpec block = spec.block(0);
  EXPECT_THAT(linear_names(block),
              ElementsAre("model.decoder.layers.0.self_attn.q_proj",
                          "model.decoder.layers.0.self_attn.k_proj",
                          "model.decoder.layers.0.self_attn.v_proj",
                          "model.decoder.layers.0.self_attn.out_proj", "model.decoder.layers.0.fc1",
                          "model.decoder.layers.0.fc2"));
  EXPECT_TRUE(block.up.bias);
}

TEST(ModelSpec, TakesLlamaBiasesFromTheConfig) {
  OrderedJson config = llama_config();
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  const BlockSpec block = spec_of(config).block(0);
  for (const LinearSpec* linear : block.linears()) EXPECT_TRUE(linear->bias) << linear->name;
}

TEST(ModelSpec, GivesQwen2BiasesOnQueryKeyValueOnly) {
  const BlockSpec block = spec_of(config_of("Qwen2ForCausalLM", "qwen2")).block(0);
  EXPECT_TRUE(block.q.bias && block.k.bias && block.v.bias);
  EXPECT_FALSE(block.o.bias || block.up.bias);
}

TEST(ModelSpec, GivesQwen3HeadNormsAndItsOwnHeadWidth) {
  OrderedJson config = config_of("Qwen3ForCausalLM", "qwen3");
  EXPECT_EQ(spec_of(config).head_dim, 128) << "the family's default, not hidden / heads";
  config["head_dim"] = 32;
  const BlockSpec block = spec_of(config).block(0);
  EXPECT_EQ(block.q.out, 128);
  ASSERT_TRUE(block.q_norm && block.k_norm);
  EXPECT_EQ(block.k_norm->width, 32);
  EXPECT_EQ(block.norms().size(), 4u);
}

TEST(ModelSpec, TellsAnAbsentMistralWindowFromANullOne) {
  OrderedJson config = config_of("MistralForCausalLM", "mistral");
  EXPECT_EQ(spec_of(config).sliding_window, 4096);
  config["sliding_window"] = nullptr;
  EXPECT_FALSE(spec_of(config).sliding_window);
  config["sliding_window"] = 7;
  EXPECT_EQ(spec_of(config).sliding_window, 7);
}

TEST(ModelSpec, SharesKeyHeadsOnlyWhereTheConfigSaysSo) {
  OrderedJson config = llama_config();
  config.erase("num_key_value_heads");
  EXPECT_EQ(spec_of(config).kv_heads, 4);
  config["num_key_value_heads"] = nullptr;
  EXPECT_EQ(spec_of(config).kv_heads, 4);
}

TEST(ModelSpec, ReadsBothSpellingsOfRope) {
  OrderedJson old_style = llama_config();
  old_style["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  OrderedJson new_style = llama_config();
  new_style.erase("rope_theta");
  new_style["rope_parameters"] = {
      {"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 500000.0}};
  EXPECT_EQ(spec_of(old_style).rope->inverse_frequencies(16),
            spec_of(new_style).rope->inverse_frequencies(16));
  EXPECT_EQ(spec_of(old_style).rope->scaling, RopeScaling::linear);
}

TEST(RopeSpec, LeavesShortWavesAndStretchesLongOnes) {
  RopeSpec plain;
  plain.theta = 500000.0;
  RopeSpec scaled = plain;
  scaled.scaling = RopeScaling::llama3;
  scaled.factor = 8.0;
  const auto before = plain.inverse_frequencies(128);
  const auto after = scaled.inverse_frequencies(128);
  EXPECT_EQ(after.front(), 1.0f);
  EXPECT_FLOAT_EQ(after.back(), before.back() / 8.0f);
  int between = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const double wave = 2 * std::numbers::pi / before[i];
    if (wave < 8192.0 / 4.0) {
      EXPECT_FLOAT_EQ(after[i], before[i]);
    }
    if (wave > 8192.0) {
      EXPECT_FLOAT_EQ(after[i], before[i] / 8.0f);
    }
    between += after[i] < before[i] * 0.999f && after[i] > before[i] / 7.99f;
  }
  EXPECT_GT(between, 0);
}

TEST(ModelSpec, ListsTheSupportedArchitecturesToAnUnknownOne) {
  const auto spec = read_model_spec(config_of("MambaForCausalLM", "mamba"));
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().code, "model/unsupported-architecture");
  for (const std::string& name : supported_architectures()) {
    EXPECT_THAT(spec.error().message, HasSubstr(name));
  }
}

TEST(ModelSpec, IgnoresWhatAPackedCheckpointAdds) {
  OrderedJson config = llama_config();
  config["quantization_config"] = {{"quant_method", "compressed-tensors"}};
  config["lowbit"] = {{"version", 1}};
  config["dtype"] = "bfloat16";
  EXPECT_EQ(spec_of(config).blocks, 2);
}

TEST(ModelSpec, TakesOneOrSeveralEndTokens) {
  OrderedJson config = llama_config();
  config["eos_token_id"] = {5, 9};
  EXPECT_THAT(spec_of(config).eos_tokens, ElementsAre(5, 9));
  config["eos_token_id"] = 7;
  EXPECT_THAT(spec_of(config).eos_tokens, ElementsAre(7));
}

}  // namespace
}  // namespace lowbit
