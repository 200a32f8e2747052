// Mistral 7B and its kin: LLaMA's layout with sliding-window attention.
#include "model/family.h"
#include "model/llama_layout.h"

namespace lowbit {
namespace {

constexpr std::int64_t kDefaultSlidingWindow = 4096;  // where the key is absent; null: none

void read(ConfigReader& config, ModelSpec& spec) {
  read_llama_layout(config,
                    {.kv_heads = 8, .max_positions = 131072, .bos_token = 1, .eos_token = 2}, spec);
  if (config.has_value("sliding_window")) {
    spec.sliding_window = config.count("sliding_window", kMaxPositions);
  } else if (!config.has("sliding_window")) {
    spec.sliding_window = kDefaultSlidingWindow;
  }
  config.expect_layer_types(spec.sliding_window ? "sliding_attention" : "full_attention");
}

}  // namespace

const Family kMistralFamily = {"MistralForCausalLM", "mistral", read, llama_block};

}  // namespace lowbit
