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
  const auto map = lowbit::QuantizationMap::read(*config, linears);
  if (!map) return 0;
  lowbit::OrderedJson again = {{"quantization_config", map->quantization_config(linears)}};
  again["lowbit"] = lowbit::LowbitInfo{}.json(*map);
  const auto second = lowbit::QuantizationMap::read(again, linears);
  CHECK(second.ok() && second->schemes() == map->schemes());
  return 0;
}
