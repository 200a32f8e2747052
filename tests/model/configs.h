// A small valid configuration of each family, for tests that change one thing in it.
#pragma once

#include <string>

#include "io/json.h"

namespace lowbit::test {

inline OrderedJson llama_config() {
  return OrderedJson::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5, "rope_theta": 500000.0})");
}

inline OrderedJson config_of(const std::string& architecture, const std::string& model_type) {
  OrderedJson config = llama_config();
  config["architectures"] = {architecture};
  config["model_type"] = model_type;
  return config;
}

inline OrderedJson opt_config() {
  return OrderedJson::parse(R"({"architectures": ["OPTForCausalLM"], "model_type": "opt",
    "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 100, "max_position_embeddings": 64})");
}

}  // namespace lowbit::test
