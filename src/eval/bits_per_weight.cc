#include <string_view>
#include <vector>

#include "eval/evaluate.h"

namespace lowbit {
namespace {

// Bytes of whatever stands for the weight: codes, scales, zero points, shape, what the input
// needs, or the float matrix.
Result<std::uint64_t> stored_bytes(const ReferenceModel& model, const LinearSpec& linear) {
  const Checkpoint& checkpoint = model.checkpoint();
  const LinearScheme* scheme = model.quantization().find(linear.name);
  if (scheme == nullptr) {
    const auto weight = checkpoint.tensor(linear.name + ".weight");
    if (!weight) return weight.error();
    return weight->info->size_bytes();
  }
  std::vector<std::string_view> parts = stored_parts(scheme->weight);
  for (const auto part : stored_input_parts(linear.name, *scheme)) parts.push_back(part);
  std::uint64_t bytes = 0;
  for (const std::string_view part : parts) {
    const auto tensor = checkpoint.tensor(linear.name + "." + std::string(part));
    if (!tensor) return tensor.error();
    bytes += tensor->info->size_bytes();
  }
  return bytes;
}

// What is stored for some weights.
struct Stored {
  double bits = 0;
  double weights = 0;

  Status add(const ReferenceModel& model, const LinearSpec& linear) {
    const auto bytes = stored_bytes(model, linear);
    if (!bytes) return bytes.error();
    bits += 8.0 * static_cast<double>(*bytes);
    weights += static_cast<double>(linear.out * linear.in);
    return {};
  }
};

}  // namespace

Result<StoredBits> bits_per_weight(const ReferenceModel& model) {
  const ModelSpec& spec = model.spec();
  Stored stored;
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const BlockSpec block = spec.block(index);
    for (const LinearSpec* linear : block.linears()) {
      if (Status added = stored.add(model, *linear); !added) return added.error();
    }
  }
  StoredBits result{.linears = stored.bits / stored.weights};
  std::vector<std::string> tables = {spec.embedding_name};
  if (!spec.tied_head) tables.push_back(spec.head_name);
  for (const std::string& table : tables) {
    Status added = stored.add(model, {.name = table, .out = spec.vocabulary, .in = spec.hidden});
    if (!added) return added.error();
  }
  result.model = stored.bits / stored.weights;
  return result;
}

}  // namespace lowbit
