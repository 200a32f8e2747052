// Packed linears: weight-only ones equal the decoded weight; with quantized activations the output
// is the format's reference product.
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <random>

#include "format/value_grid.h"
#include "kernels/fake_quant.h"
#include "kernels/hadamard.h"
#include "runtime/altered_model.h"
#include "runtime/generate.h"
#include "runtime/linear.h"

namespace lowbit {
namespace {

// Round to nearest, the range of each group.
GroupAffineWeight rounded(std::span<const float> weight, std::int64_t out, std::int64_t in,
                          const WeightScheme& scheme) {
  const float top = static_cast<float>((1 << scheme.bits) - 1);
  const ValueGrid* grid = value_grid(scheme.format);
  const std::int64_t size = scheme.group_size == 0 ? in : scheme.group_size;
  std::vector<float> scales, zeros;
  for (std::int64_t at = 0; at < out * in; at += size) {
    const auto group = weight.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(size));
    const auto [low, high] = std::minmax_element(group.begin(), group.end());
    if (grid != nullptr) {
      scales.push_back(std::max(*high, -*low) / grid->largest());
      continue;
    }
    scales.push_back((*high - *low) / top);
    zeros.push_back(-*low / scales.back());
  }
  if (grid == nullptr) {
    return quantize_group_affine(weight, out, in, scheme, scales, zeros, DType::bf16);
  }
  return quantize_group_affine(
      weight, out, in, scheme, scales, zeros,
      {scale_type_of(scheme.format, scales), global_scale_of(scheme.format, 4)});  // any will do
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

// Every linear but one v_proj, which stays float. With `turned`, each input and weight is rotated
// by the largest Hadamard matrix that fits.
void fill(PackedPair& pair, LinearScheme scheme, bool turned = false) {
  const auto model = test::open_model(test::model_folder("qwen2"));
  std::vector<BlockSpec> blocks = {model.spec().block(0), model.spec().block(1)};
  QuantizationMap map;
  std::vector<std::string> names;
  for (const LinearSpec* linear : linears_of(blocks)) {
    names.push_back(linear->name);
    if (linear->name == "model.layers.1.self_attn.v_proj") continue;
    const std::string name = linear->name + ".weight";
    auto weight = model.checkpoint().floats(name, {linear->out, linear->in}).value();
    scheme.transform.hadamard = turned ? hadamard_size(linear->in) : 0;
    if (turned) hadamard_rows(weight, scheme.transform.hadamard);
    const auto codes = rounded(weight, linear->out, linear->in, scheme.weight);
    std::vector<float> decoded = codes.dequantize();
    if (turned) hadamard_rows_transposed(decoded, scheme.transform.hadamard);
    pair.decoded.set_floats(name, {linear->out, linear->in}, decoded);
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

TEST(PackedModel, OfAValueFormatEqualsTheDecodedWeights) {
  const auto tokens = some_tokens();
  for (const WeightFormat format : {WeightFormat::nvfp4, WeightFormat::fp8}) {
    for (const bool turned : {false, true}) {
      PackedPair pair;
      fill(pair, {value_format(format)->scheme, {.bits = 16}}, turned);
      const auto packed = test::logits_of(test::open_model(pair.packed.write()), tokens);
      const auto decoded = test::logits_of(test::open_model(pair.decoded.write()), tokens);
      EXPECT_LT(test::largest_difference(packed, decoded), 1e-4) << value_format(format)->name;
    }
  }
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

// Weights that were multiplied by H, and inputs that are: nothing but rounding changes.
TEST(PackedModel, TransformsOfInputsUndoThoseOfWeights) {
  const auto tokens = some_tokens();
  for (const Isa isa : supported_isas()) {
    setenv("LOWBIT_ISA", std::string(name_of(isa)).c_str(), 1);
    for (const int bits : {16, 8}) {
      PackedPair pair;
      fill(pair, {kW4, {.bits = bits, .group_size = 16}}, true);
      const auto model = test::open_model(pair.packed.write());
      const std::string down = "model.layers.0.mlp.down_proj";
      ASSERT_GT(model.quantization().find(down)->transform.hadamard, 16);
      const auto packed = test::logits_of(model, tokens);
      const auto decoded = test::logits_of(test::open_model(pair.decoded.write()), tokens);
      EXPECT_LT(test::largest_difference(packed, decoded), bits == 16 ? 1e-4 : 0.3)
          << name_of(isa) << ", activations of " << bits << " bits";
    }
    unsetenv("LOWBIT_ISA");
  }
}

// The whole model from its files: kernels quantize clipped inputs as the reference does, in the
// weight's groups and in halves of them.
TEST(PackedModel, EveryInstructionSetComputesTheReferencesClippedModel) {
  const auto tokens = some_tokens();
  for (const bool symmetric : {false, true}) {
    PackedPair pair, whole;
    const ActivationScheme range{
        .bits = 3, .group_size = symmetric ? 8 : 16, .symmetric = symmetric};
    ActivationScheme clipped = range;
    clipped.clip = 0.75;
    fill(pair, {kW4, clipped});
    fill(whole, {kW4, range});
    setenv("LOWBIT_ISA", "reference", 1);
    const auto expected = test::logits_of(test::open_model(pair.packed.write()), tokens);
    const auto unclipped = test::logits_of(test::open_model(whole.packed.write()), tokens);
    EXPECT_GT(test::largest_difference(expected, unclipped), 0.01) << "the clip did nothing";
    for (const Isa isa : supported_isas()) {
      setenv("LOWBIT_ISA", std::string(name_of(isa)).c_str(), 1);
      const auto found = test::logits_of(test::open_model(pair.packed.write()), tokens);
      EXPECT_LT(test::largest_difference(found, expected), 1e-4) << name_of(isa);
    }
    unsetenv("LOWBIT_ISA");
  }
}

// By the engine, a token at a time.
TEST(PackedModel, GeneratesWithTransformsWhatTheDecodedGenerates) {
  PackedPair pair;
  fill(pair, {kW4, {.bits = 16}}, true);
  const SamplingOptions greedy = {
      .sequences = 1, .length = 12, .rule = {.temperature = 0}, .seed = 1, .prompt = {3, 4, 5}};
  const auto found = generate(test::open_model(pair.packed.write()), greedy, {});
  const auto expected = generate(test::open_model(pair.decoded.write()), greedy, {});
  ASSERT_TRUE(found.ok() && expected.ok());
  EXPECT_EQ(*found, *expected);
}

TEST(PackedModel, RefusesATransformThatDoesNotDivideItsRows) {
  PackedPair pair;
  fill(pair, {kW4, {.bits = 16}}, true);
  const std::string size = "/quantization_config/transform_config/config_groups/hadamard_";
  const std::string hidden = std::to_string(pair.packed.config["hidden_size"].get<int>());
  pair.packed.config[OrderedJson::json_pointer(size + hidden + "/head_dim")] = 4096;
  const auto opened = ReferenceModel::open(real_file_system(), pair.packed.write());
  ASSERT_TRUE(opened.ok());
  const std::vector<std::vector<TokenId>> windows = {some_tokens()};
  const auto states = opened->final_states(windows, {});
  ASSERT_FALSE(states.ok());
  EXPECT_EQ(states.error().code, "packed/bad-config");
}

struct SmallProduct {
  static constexpr std::int64_t kOut = 24, kIn = 96, kTokens = 5;
  std::vector<float> x = std::vector<float>(kTokens * kIn);
  GroupAffineWeight weight;

  SmallProduct() {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> values(kOut * kIn);
    for (float& value : values) value = normal(random);
    for (float& value : x) value = normal(random);
    weight = rounded(values, kOut, kIn, kW4);
  }

  LoadedLinear linear(Isa isa, int activation_bits, std::int64_t hadamard) const {
    LoadedLinear result;
    result.out = kOut;
    result.in = kIn;
    result.isa = isa;
    result.activation = {.bits = activation_bits, .group_size = 16};
    result.transform.hadamard = hadamard;
    if (isa != Isa::reference) {
      result.arranged = arrange(weight);
    } else if (activation_bits == 16) {
      result.weight = weight.dequantize();
    } else {
      result.packed = weight;
    }
    return result;
  }
};

// Of one input, whatever was made for the linear before: the product of the turned input, to the
// last bit.
TEST(PackedLinear, TurnsItsInputFirst) {
  const SmallProduct product;
  for (const Isa isa : supported_isas()) {
    for (const int bits : {16, 8, 4}) {
      LinearInput input(product.x, SmallProduct::kIn);
      for (const std::int64_t size : {96, 32, 0, 96}) {
        std::vector<float> turned = product.x;
        if (size > 0) hadamard_rows(turned, size);
        std::vector<float> y(SmallProduct::kTokens * SmallProduct::kOut), expected = y;
        apply(product.linear(isa, bits, size), input, y);
        apply(product.linear(isa, bits, 0), turned, expected);
        EXPECT_EQ(y, expected) << name_of(isa) << ", A" << bits << " H" << size;
      }
    }
  }
}

TEST(PackedLinear, LinearsOfOneInputMayHaveTransformsOfTheirOwn) {
  const SmallProduct product;
  for (const Isa isa : supported_isas()) {
    for (const int bits : {16, 8}) {
      for (const std::int64_t other : {96, 32, 0}) {
        const LoadedLinear first = product.linear(isa, bits, 96);
        const LoadedLinear second = product.linear(isa, bits, other);
        std::vector<float> y(SmallProduct::kTokens * SmallProduct::kOut), z = y, expected = y;
        LinearInput input(product.x, SmallProduct::kIn);
        apply_all(std::vector<LinearOutput>{{&first, y}, {&second, z}}, input);
        apply(first, product.x, expected);
        EXPECT_EQ(y, expected) << name_of(isa) << ", A" << bits;
        apply(second, product.x, expected);
        EXPECT_EQ(z, expected) << name_of(isa) << ", A" << bits << " H" << other;
      }
    }
  }
}

TEST(PackedLinear, OfAValueFormatRoundsItsInputToThat) {
  const SmallProduct product;
  for (const ValueFormat& format : value_formats()) {
    if (!format.for_inputs) continue;
    for (const std::int64_t hadamard : {0, 32}) {
      LoadedLinear plain = product.linear(Isa::reference, 16, 0);
      LoadedLinear linear = product.linear(Isa::reference, 16, hadamard);
      linear.activation = input_scheme(format);
      if (linear.activation.stores_scale()) linear.activation.scale = 448;
      plain.activation = {};
      std::vector<float> x = product.x;
      if (hadamard > 0) hadamard_rows(x, hadamard);
      const std::int64_t group = format.scheme.group_size > 0 ? format.scheme.group_size : plain.in;
      fake_quant_activation(linear.activation, group, 0, std::ssize(x) / group, x.data(), x.data());
      std::vector<float> y(SmallProduct::kTokens * SmallProduct::kOut), z = y, expected = y;
      apply(plain, x, expected);
      LinearInput input(product.x, SmallProduct::kIn);
      apply_all(std::vector<LinearOutput>{{&plain, z}, {&linear, y}}, input);
      EXPECT_EQ(y, expected) << format.name;
      EXPECT_NE(y, z) << format.name;
    }
  }
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
