// What a family of models contributes: how its config.json is read and how its blocks are laid out.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/config_reader.h"
#include "model/model_spec.h"

namespace lowbit {

struct Family {
  std::string_view architecture;  // "LlamaForCausalLM"
  std::string_view model_type;    // "llama"
  void (*read)(ConfigReader& config, ModelSpec& spec);
  BlockSpec (*block)(const ModelSpec& spec, std::int64_t index);
};

extern const Family kLlamaFamily;
extern const Family kMistralFamily;
extern const Family kQwen2Family;
extern const Family kQwen3Family;
extern const Family kOptFamily;

}  // namespace lowbit
