// Qwen3 (dense): LLaMA's layout with RMSNorm on the heads of q and k and a stated width of a head.
#include "model/family.h"
#include "model/llama_layout.h"

namespace lowbit {
namespace {

void read(ConfigReader& config, ModelSpec& spec) {
  spec.qk_norm = true;
  spec.qkv_bias = spec.o_bias = config.flag_or("attention_bias", false);
  config.expect_flag("use_sliding_window", false, false);
  config.expect_layer_types("full_attention");
  read_llama_layout(config, {.kv_heads = 32, .head_dim = 128, .max_positions = 32768}, spec);
}

}  // namespace

const Family kQwen3Family = {"Qwen3ForCausalLM", "qwen3", read, llama_block};

}  // namespace lowbit
