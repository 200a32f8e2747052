// Packed linears: weight-only ones equal the decoded weight; with quantized activations the output
// is the format's reference product.
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "runtime/altered_model.h"
#include "runtime/linear.h"

namespace lowbit {
namespace {

// Round to nearest, the range of each group.
GroupAffineWeight rounded(std::span<const float> weight, std::int64_t out, std::int64_t in,
                          const WeightScheme& scheme) {
  const float top = static_cast<float>((1 << scheme.bits) - 1);
  std::vector<float> scales, zeros;
  for (std::int64_t at = 0; at < out * in; at += scheme.group_size) {
    const auto group =
        weight.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(scheme.group_size));
    const auto [low, high] = std::minmax_element(group.begin(), group.end());
    scales.push_back((*high - *low) / top);
    zeros.push_back(-*low / scales.back());
  }
  return quantize_group_affine(weight, out, in, scheme, scales, zeros, DType::bf16);
}

std::vector<const LinearSpec*> linears_of(const std::vector<BlockSpec>& blocks) {
  std::vector<const LinearSpec*> all;
  for (const BlockSpec& block : blocks) {
    for (const LinearSpec* linear : block.linears()) all.push_back(linear);
  }
  return all;
}

struct PackedPair {
  test::AlteredModel packed{"qwen2"};
  test::AlteredModel decoded{"qwen2"};  // float weights with the same values
};

// Every linear but one v_proj, which stays float.
void fill(PackedPair& pair, const LinearScheme& scheme) {
  const auto model = test::open_model(test::model_folder("qwen2"));
  std::vector<BlockSpec> blocks = {model.spec().block(0), model.spec().block(1)};
  QuantizationMap map;
  std::vector<std::string> names;
  for (const LinearSpec* linear : linears_of(blocks)) {
    names.push_back(linear->name);
    if (linear->name == "model.layers.1.self_attn.v_proj") continue;
    const std::string name = linear->name + ".weight";
    const auto weight = model.checkpoint().floats(name, {linear->out, linear->in}).value();
    const auto codes = rounded(weight, linear->out, linear->in, scheme.weight);
    pair.decoded.set_floats(name, {linear->out, linear->in}, codes.dequantize());
    pair.packed.tensors.erase(name);
    const PackedTensors packed(linear->name, codes);
    for (const TensorToWrite& tensor : packed.tensors()) {
      pair.packed.tensors[tensor.name] = {
          tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}};
    }
    map.set(linear->name, scheme);
  }
  names.push_back("lm_head");
  pair.packed.config["quantization_config"] = map.quantization_config(names);
  pair.packed.config["lowbit"] = LowbitInfo{}.json(map);
}

constexpr WeightScheme kW4 = {.bits = 4, .group_size = 16, .symmetric = false};

std::vector<TokenId> some_tokens() {
  return test::read_golden(test::model_folder("qwen2") / "golden.safetensors").tokens;
}

TEST(PackedModel, WeightOnlyEqualsTheDecodedWeights) {
  PackedPair pair;
  fill(pair, {kW4, {.bits = 16}});
  const auto tokens = some_tokens();
  const auto packed = test::logits_of(test::open_model(pair.packed.write()), tokens);
  const auto decoded = test::logits_of(test::open_model(pair.decoded.write()), tokens);
  EXPECT_LT(test::largest_difference(packed, decoded), 1e-4);  // the order of sums
  const auto source = test::read_golden(test::model_folder("qwen2") / "golden.safetensors");
  EXPECT_GT(test::largest_difference(packed, source.logits), 0.01) << "nothing was quantized";
}

TEST(PackedModel, QuantizedActivationsStayNearTheFloatOnes) {
  PackedPair pair;
  fill(pair, {kW4, {.bits = 8, .group_size = 16}});
  const auto tokens = some_tokens();
  const auto packed = test::logits_of(test::open_model(pair.packed.write()), tokens);
  const auto decoded = test::logits_of(test::open_model(pair.decoded.write()), tokens);
  EXPECT_LT(test::largest_difference(packed, decoded), 0.3);
  EXPECT_GT(test::largest_difference(packed, decoded), 1e-4) << "activations were not quantized";
}

TEST(PackedLinear, IsTheReferenceProductPlusBias) {
  constexpr std::int64_t kOut = 24, kIn = 32, kTokens = 5;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> weight(kOut * kIn), x(kTokens * kIn);
  for (float& value : weight) value = normal(random);
  for (float& value : x) value = normal(random);
  LoadedLinear linear;
  linear.out = kOut;
  linear.in = kIn;
  linear.packed = rounded(weight, kOut, kIn, kW4);
  linear.activation = {.bits = 4, .group_size = linear.packed->group_size};
  linear.bias.resize(kOut);
  std::iota(linear.bias.begin(), linear.bias.end(), 1.0F);

  std::vector<float> y(kTokens * kOut), expected(kTokens * kOut);
  LinearInput input(x, kIn);
  apply(linear, input, y);
  reference_product(quantize_activations(x, kIn, linear.activation), *linear.packed, expected);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += linear.bias[i % kOut];
  EXPECT_EQ(y, expected);

  // The kernels give the same bits, from codes of their own.
  LoadedLinear fast = linear;
  fast.arranged = arrange(*linear.packed);
  fast.packed.reset();
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::reference) continue;
    fast.isa = isa;
    apply(fast, input, y);
    EXPECT_EQ(y, expected) << name_of(isa);
  }

  // Another scheme on the same input makes its own codes.
  linear.activation.bits = 3;
  apply(linear, input, y);
  EXPECT_NE(y, expected);
}

}  // namespace
}  // namespace lowbit
