// Qwen2 and Qwen2.5: LLaMA's layout with biases on q, k and v.
#include "model/family.h"
#include "model/llama_layout.h"

namespace lowbit {
namespace {

void read(ConfigReader& config, ModelSpec& spec) {
  spec.qkv_bias = true;
  // A window in the upper layers only (max_window_layers) is not implemented; no published
  // checkpoint of these sizes switches it on.
  config.expect_flag("use_sliding_window", false, false);
  config.expect_layer_types("full_attention");
  read_llama_layout(config, {.kv_heads = 32, .max_positions = 32768}, spec);
}

}  // namespace

const Family kQwen2Family = {"Qwen2ForCausalLM", "qwen2", read, llama_block};

}  // namespace lowbit
