// What LLaMA and its descendants share: config keys, rotary positions, names of modules.
#pragma once

#include <cstdint>
#include <optional>

#include "model/config_reader.h"
#include "model/model_spec.h"

namespace lowbit {

// What a family's configuration has where the file is silent (as transformers has it).
struct LlamaDefaults {
  std::optional<std::int64_t> kv_heads = std::nullopt;  // none: as many as heads
  std::optional<std::int64_t> head_dim = std::nullopt;  // none: hidden / heads
  std::int64_t max_positions = 2048;
  std::optional<std::int64_t> bos_token = std::nullopt;
  std::optional<std::int64_t> eos_token = std::nullopt;
};

// Sizes, norm, activation, rotary positions, tied head, special tokens and module names.
void read_llama_layout(ConfigReader& config, const LlamaDefaults& defaults, ModelSpec& spec);

BlockSpec llama_block(const ModelSpec& spec, std::int64_t index);

// rope_parameters (transformers 5), or rope_theta and rope_scaling.
RopeSpec read_rope(ConfigReader& config, std::int64_t max_positions);

}  // namespace lowbit
