// LLaMA 2, 3, 3.1, 3.2 (text): RMSNorm, rotary positions, gated SiLU, optionally biases.
#include "model/family.h"
#include "model/llama_layout.h"

namespace lowbit {
namespace {

void read(ConfigReader& config, ModelSpec& spec) {
  spec.qkv_bias = spec.o_bias = config.flag_or("attention_bias", false);
  spec.ffn_bias = config.flag_or("mlp_bias", false);
  config.expect_layer_types("full_attention");
  read_llama_layout(config, {.bos_token = 1, .eos_token = 2}, spec);
}

}  // namespace

const Family kLlamaFamily = {"LlamaForCausalLM", "llama", read, llama_block};

}  // namespace lowbit
