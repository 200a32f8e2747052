// Any bytes as config.json: a description of a model whose every block can be spelled out, or an
// error.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "io/json.h"
#include "model/model_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config =
      lowbit::parse_ordered_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!config) return 0;
  const auto spec = lowbit::read_model_spec(*config);
  if (!spec) return 0;
  CHECK(spec->heads % spec->kv_heads == 0);
  const lowbit::BlockSpec last = spec->block(spec->blocks - 1);
  for (const lowbit::LinearSpec* linear : last.linears()) {
    CHECK(linear->out > 0 && linear->in > 0);
  }
  if (spec->rope) CHECK(!spec->rope->inverse_frequencies(spec->head_dim).empty());
  return 0;
}
