#include "format/rtn_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "format/value_grid.h"
#include "model/model_spec.h"

namespace lowbit {
namespace {

std::vector<std::pair<LinearSpec, LinearScheme>> schemes_of(const ModelSpec& spec,
                                                            const SchemeOf& scheme_of,
                                                            const SchemeOf& table_scheme_of) {
  std::vector<std::pair<LinearSpec, LinearScheme>> all;
  for (std::int64_t i = 0; i < spec.blocks; ++i) {
    const BlockSpec block = spec.block(i);
    for (const LinearSpec* linear : block.linears()) {
      all.emplace_back(*linear, scheme_of(linear->name));
    }
  }
  std::vector<std::string> tables = {spec.embedding_name};
  if (!spec.tied_head) tables.push_back(spec.head_name);
  for (const std::string& table : tables) {
    all.emplace_back(LinearSpec{.name = table, .out = spec.vocabulary, .in = spec.hidden},
                     table_scheme_of ? table_scheme_of(table) : LinearScheme{{.bits = 16}, {}});
  }
  return all;
}

}  // namespace

GroupAffineWeight round_to_nearest(const std::vector<float>& weight, std::int64_t out,
                                   std::int64_t in, const WeightScheme& scheme, DType scale_type) {
  const std::int64_t group = scheme.group_size == 0 ? in : scheme.group_size;
  if (const ValueFormat* format = value_format(scheme.format)) {
    const auto less = [](float a, float b) { return std::abs(a) < std::abs(b); };
    std::vector<float> scales;
    for (auto first = weight.begin(); first != weight.end(); first += group) {
      const float reach = std::abs(*std::max_element(first, first + group, less));
      scales.push_back(reach / format->grid().largest());
    }
    const float reach = std::abs(*std::max_element(weight.begin(), weight.end(), less));
    return quantize_group_affine(
        weight, out, in, scheme, scales, {},
        {scale_type_of(scheme.format, scales), global_scale_of(scheme.format, reach)});
  }
  const auto levels = static_cast<float>((1 << scheme.bits) - 1);
  std::vector<float> scales;
  std::vector<float> zeros;
  for (auto first = weight.begin(); first != weight.end(); first += group) {
    const auto [low_at, high_at] = std::minmax_element(first, first + group);
    const float low = std::min(*low_at, 0.0F);
    const float high = std::max(*high_at, 0.0F);
    const float range = scheme.symmetric ? 2 * std::max(-low, high) : high - low;
    scales.push_back(range / levels);
    zeros.push_back(range > 0 ? -low / scales.back() : 0.0F);
  }
  return quantize_group_affine(weight, out, in, scheme, scales, zeros, scale_type);
}

Status write_rtn_checkpoint(const Path& source, const Path& out, const Path& decoded,
                            const SchemeOf& scheme_of, const SchemeOf& table_scheme_of) {
  FileSystem& files = real_file_system();
  const Result<Checkpoint> checkpoint = Checkpoint::open(files, source);
  if (!checkpoint) return checkpoint.error();
  const Result<ModelSpec> spec = read_model_spec(checkpoint->config());
  if (!spec) return spec.error();

  QuantizationMap map;
  std::vector<std::string> linears;
  std::deque<PackedTensors> packed;                // tensors borrow from these
  std::deque<std::vector<float>> decoded_weights;  // and from these
  std::vector<TensorToWrite> written;
  std::vector<TensorToWrite> decoded_written;
  for (const auto& [linear, scheme] : schemes_of(*spec, scheme_of, table_scheme_of)) {
    const bool float_embedding = linear.name == spec->embedding_name && !scheme.weight.quantized();
    if (!float_embedding) linears.push_back(linear.name);  // no linear: it needs no "ignore"
    if (!scheme.weight.quantized()) continue;
    map.set(linear.name, scheme);
    const std::string name = linear.name + ".weight";
    const Result<std::vector<float>> weight = checkpoint->floats(name, {linear.out, linear.in});
    if (!weight) return weight.error();
    const GroupAffineWeight quantized =
        round_to_nearest(*weight, linear.out, linear.in, scheme.weight, DType::bf16);
    packed.emplace_back(linear.name, quantized, scheme);
    for (TensorToWrite& tensor : packed.back().tensors()) written.push_back(std::move(tensor));
    decoded_weights.push_back(quantized.dequantize());
    decoded_written.push_back({name,
                               DType::f32,
                               {linear.out, linear.in},
                               std::as_bytes(std::span(decoded_weights.back()))});
  }
  if (spec->tied_head) linears.push_back("lm_head");
  for (const std::string& name : checkpoint->names()) {
    if (name.ends_with(".weight") && map.find(name.substr(0, name.size() - 7)) != nullptr) continue;
    const Result<Checkpoint::Tensor> tensor = checkpoint->tensor(name);
    if (!tensor) return tensor.error();
    written.push_back({name, tensor->info->dtype, tensor->info->shape, tensor->bytes});
  }
  if (Status status = files.make_folders(out); !status) return status;
  if (Status status = write_safetensors(files, out / "model.safetensors", written); !status) {
    return status;
  }
  if (Status status = write_safetensors(files, decoded, decoded_written); !status) return status;
  OrderedJson config = checkpoint->config();
  config["quantization_config"] = map.quantization_config(linears);
  config["lowbit"] = LowbitInfo{.recipe = "test"}.json(map);
  return write_whole(files, out / "config.json", config.dump(2) + "\n");
}

}  // namespace lowbit
