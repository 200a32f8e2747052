// Any JSON as a config.json: the quantization is read or refused, and what is read is written and
// read back the same.
#include <cstdint>

#include "format/packed_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = lowbit::parse_ordered_json(text);
  if (!config) return 0;
  const std::vector<std::string> linears = {"model.layers.0.mlp.up_proj",
                                            "model.layers.1.mlp.up_proj", "lm_head"};
  const std::string embedding = "model.embed_tokens";
  const auto map = lowbit::QuantizationMap::read(*config, linears, embedding);
  if (!map) return 0;
  std::vector<std::string> named = linears;
  if (map->find(embedding) != nullptr) named.push_back(embedding);
  lowbit::OrderedJson again = {{"quantization_config", map->quantization_config(named)}};
  again["lowbit"] = lowbit::LowbitInfo{}.json(*map);
  const auto second = lowbit::QuantizationMap::read(again, linears, embedding);
  CHECK(second.ok() && second->schemes() == map->schemes());
  return 0;
}
