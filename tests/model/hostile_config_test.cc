// config.json comes from outside: each bad value is an error of its own that names its key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/configs.h"
#include "model/model_spec.h"

namespace lowbit {
namespace {

struct BadConfig {
  const char* story;
  const char* base;   // "llama", "mistral", "qwen2", "opt"
  const char* patch;  // merged into the base; null removes a key
  const char* code;
  const char* key;  // named in the message
};

// Lets gtest print a case by its story.
void PrintTo(const BadConfig& bad, std::ostream* out) { *out << bad.story; }

OrderedJson base_config(const std::string& name) {
  if (name == "opt") return test::opt_config();
  if (name == "mistral") return test::config_of("MistralForCausalLM", "mistral");
  if (name == "qwen2") return test::config_of("Qwen2ForCausalLM", "qwen2");
  return test::llama_config();
}

class HostileConfig : public ::testing::TestWithParam<BadConfig> {};

TEST_P(HostileConfig, IsRefusedByName) {
  const BadConfig& bad = GetParam();
  OrderedJson config = base_config(bad.base);
  config.merge_patch(OrderedJson::parse(bad.patch));
  const auto spec = read_model_spec(config);
  ASSERT_FALSE(spec.ok()) << bad.story;
  EXPECT_EQ(spec.error().code, bad.code) << spec.error().message;
  EXPECT_EQ(spec.error().kind, ErrorKind::bad_input);
  EXPECT_THAT(spec.error().message, ::testing::HasSubstr(bad.key));
}

constexpr char kBad[] = "model/bad-value";
constexpr char kUnsupported[] = "model/unsupported-option";

INSTANTIATE_TEST_SUITE_P(
    Cases, HostileConfig,
    ::testing::Values(
        BadConfig{"no architectures", "llama", R"({"architectures": null})",
                  "model/no-architecture", "architectures"},
        BadConfig{"architectures no list", "llama", R"({"architectures": "LlamaForCausalLM"})",
                  "model/no-architecture", "architectures"},
        BadConfig{"two architectures", "llama", R"({"architectures": ["LlamaForCausalLM", "x"]})",
                  "model/no-architecture", "several"},
        BadConfig{"other model type", "llama", R"({"model_type": "opt"})", kBad, "model_type"},
        BadConfig{"missing size", "llama", R"({"hidden_size": null})", "model/missing-key",
                  "hidden_size"},
        BadConfig{"zero heads", "llama", R"({"num_attention_heads": 0})", kBad,
                  "num_attention_heads"},
        BadConfig{"zero key heads", "llama", R"({"num_key_value_heads": 0})", kBad,
                  "num_key_value_heads"},
        BadConfig{"negative layers", "llama", R"({"num_hidden_layers": -1})", kBad,
                  "num_hidden_layers"},
        BadConfig{"endless layers", "llama", R"({"num_hidden_layers": 1000000000})", kBad,
                  "num_hidden_layers"},
        BadConfig{"above int64", "llama", R"({"vocab_size": 18446744073709551615})", kBad,
                  "vocab_size"},
        BadConfig{"fraction", "llama", R"({"hidden_size": 64.5})", kBad, "hidden_size"},
        BadConfig{"text for a number", "llama", R"({"hidden_size": "64"})", kBad, "hidden_size"},
        BadConfig{"heads do not divide", "llama", R"({"num_attention_heads": 7,
                  "num_key_value_heads": 7})",
                  kBad, "hidden_size"},
        BadConfig{"key heads do not divide", "llama", R"({"num_key_value_heads": 3})", kBad,
                  "num_key_value_heads"},
        BadConfig{"odd head", "llama", R"({"head_dim": 15})", kBad, "head_dim"},
        BadConfig{"heads too wide together", "llama", R"({"num_attention_heads": 4096,
                  "num_key_value_heads": 1, "head_dim": 4096})",
                  kBad, "num_attention_heads"},
        BadConfig{"negative epsilon", "llama", R"({"rms_norm_eps": -1e-5})", kBad, "rms_norm_eps"},
        BadConfig{"flag as text", "llama", R"({"tie_word_embeddings": "yes"})", kBad,
                  "tie_word_embeddings"},
        BadConfig{"zero theta", "llama", R"({"rope_theta": 0})", kBad, "rope_theta"},
        BadConfig{"bos past the vocabulary", "llama", R"({"bos_token_id": 100})", kBad,
                  "bos_token_id"},
        BadConfig{"bad eos list", "llama", R"({"eos_token_id": [1, "two"]})", kBad, "eos_token_id"},
        BadConfig{"gelu", "llama", R"({"hidden_act": "gelu"})", kUnsupported, "hidden_act"},
        BadConfig{"rope is no object", "llama", R"({"rope_scaling": 2})", kBad, "rope_scaling"},
        BadConfig{"yarn", "llama", R"({"rope_scaling": {"rope_type": "yarn", "factor": 4}})",
                  kUnsupported, "yarn"},
        BadConfig{"dynamic", "llama", R"({"rope_scaling": {"type": "dynamic", "factor": 4}})",
                  kUnsupported, "dynamic"},
        BadConfig{"linear without factor", "llama", R"({"rope_scaling": {"type": "linear"}})",
                  "model/missing-key", "factor"},
        BadConfig{"two ropes", "llama", R"({"rope_scaling": {"type": "linear", "factor": 2},
                  "rope_parameters": {"rope_type": "default"}})",
                  kUnsupported, "rope_parameters"},
        BadConfig{"llama3 bands crossed", "llama", R"({"rope_scaling": {"rope_type": "llama3",
                  "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}})",
                  kBad, "high_freq_factor"},
        BadConfig{"partial rotary", "llama", R"({"partial_rotary_factor": 0.5})", kUnsupported,
                  "partial_rotary_factor"},
        BadConfig{"zero window", "mistral", R"({"sliding_window": 0})", kBad, "sliding_window"},
        BadConfig{"qwen window", "qwen2", R"({"use_sliding_window": true})", kUnsupported,
                  "use_sliding_window"},
        BadConfig{"qwen mixed layers", "qwen2",
                  R"({"layer_types": ["full_attention", "sliding_attention"]})", kUnsupported,
                  "layer_types"},
        BadConfig{"norm after", "opt", R"({"do_layer_norm_before": false})", kUnsupported,
                  "do_layer_norm_before"},
        BadConfig{"narrow embedding", "opt", R"({"word_embed_proj_dim": 16})", kUnsupported,
                  "word_embed_proj_dim"},
        BadConfig{"opt gelu", "opt", R"({"activation_function": "gelu"})", kUnsupported,
                  "activation_function"}));

TEST(HostileConfigRoot, MustBeAnObject) {
  const auto spec = read_model_spec(OrderedJson::parse("[1, 2]"));
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().code, "model/no-architecture");
}

}  // namespace
}  // namespace lowbit
