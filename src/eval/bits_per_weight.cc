#include <array>

#include "eval/evaluate.h"

namespace lowbit {
namespace {

// Bytes of whatever stands for the weight: codes, scales, zero points, shape, a static scale, or
// the float matrix.
Result<std::uint64_t> stored_bytes(const ReferenceModel& model, const LinearSpec& linear) {
  const Checkpoint& checkpoint = model.checkpoint();
  if (model.quantization().find(linear.name) == nullptr) {
    const auto weight = checkpoint.tensor(linear.name + ".weight");
    if (!weight) return weight.error();
    return weight->info->size_bytes();
  }
  constexpr std::array kAlways = {".weight_packed", ".weight_scale", ".weight_shape"};
  std::uint64_t bytes = 0;
  for (const char* suffix : kAlways) {
    const auto part = checkpoint.tensor(linear.name + suffix);
    if (!part) return part.error();
    bytes += part->info->size_bytes();
  }
  for (const char* suffix : {".weight_zero_point", ".input_scale"}) {
    const std::string part = linear.name + suffix;
    if (checkpoint.has(part)) bytes += checkpoint.tensor(part).value().info->size_bytes();
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
