// Packed embeddings and heads: what they compute, and how damage to them is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/rtn_checkpoint.h"
#include "runtime/altered_model.h"
#include "runtime/embedding.h"
#include "runtime/generate.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

constexpr char kEmbedding[] = "model.embed_tokens";
constexpr char kHead[] = "lm_head";
constexpr WeightScheme kW4 = {.bits = 4, .group_size = 16, .symmetric = false};
constexpr WeightScheme kW8 = {.bits = 8, .group_size = 16, .symmetric = true};

// A small model whose tables are packed, and the same model with their decoded values in float.
struct PackedEnds {
  explicit PackedEnds(const std::string& model) : packed(model), decoded(model), name(model) {}

  void pack(const std::string& table, const LinearScheme& scheme) {
    const auto source = test::open_model(test::model_folder(name));
    const std::vector<std::int64_t> shape = {source.spec().vocabulary, source.spec().hidden};
    const auto weight = source.checkpoint().floats(table + ".weight", shape).value();
    const auto codes = round_to_nearest(weight, shape[0], shape[1], scheme.weight, DType::f16);
    decoded.set_floats(table + ".weight", shape, codes.dequantize());
    packed.tensors.erase(table + ".weight");
    const PackedTensors parts(table, codes);
    for (const TensorToWrite& tensor : parts.tensors()) {
      packed.tensors[tensor.name] = {
          tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}};
    }
    map.set(table, scheme);
    tables.push_back(table);
    packed.config["quantization_config"] = map.quantization_config(tables);
    packed.config["lowbit"] = LowbitInfo{}.json(map);
  }

  std::vector<TokenId> tokens() const {
    return test::read_golden(test::model_folder(name) / "golden.safetensors").tokens;
  }
  test::AlteredModel packed, decoded;
  std::string name;
  std::vector<std::string> tables;
  QuantizationMap map;
};

void expect_the_logits_of_the_decoded(PackedEnds& ends) {
  const auto found = test::logits_of(test::open_model(ends.packed.write()), ends.tokens());
  const auto expected = test::logits_of(test::open_model(ends.decoded.write()), ends.tokens());
  EXPECT_LT(test::largest_difference(found, expected), 1e-4) << ends.name;
  const auto source =
      test::logits_of(test::open_model(test::model_folder(ends.name)), ends.tokens());
  EXPECT_GT(test::largest_difference(found, source), 1e-3) << "nothing was quantized";
}

TEST(PackedEnds, OfAnUntiedModelAreEachItsOwn) {
  PackedEnds ends("llama2");
  ends.pack(kEmbedding, {kW4, {}});
  ends.pack(kHead, {kW8, {}});
  expect_the_logits_of_the_decoded(ends);
}

TEST(PackedEnds, OfATiedModelAreOneTable) {
  PackedEnds ends("qwen3");
  ends.pack(kEmbedding, {kW4, {}});
  expect_the_logits_of_the_decoded(ends);
}

TEST(PackedEnds, StandBesideLearnedPositions) {
  PackedEnds ends("opt");
  ends.pack("model.decoder.embed_tokens", {kW4, {}});
  expect_the_logits_of_the_decoded(ends);
}

TEST(PackedEnds, QuantizeTheHeadsInputWhereItsSchemeSays) {
  PackedEnds ends("llama2");
  const ActivationScheme a8 = {
      .bits = 8, .per = ActivationGranularity::token, .group_size = 0, .symmetric = true};
  ends.pack(kHead, {kW8, a8});
  const auto found = test::logits_of(test::open_model(ends.packed.write()), ends.tokens());
  const auto expected = test::logits_of(test::open_model(ends.decoded.write()), ends.tokens());
  EXPECT_LT(test::largest_difference(found, expected), 0.05);
  EXPECT_GT(test::largest_difference(found, expected), 1e-5) << "activations were not quantized";
}

TEST(PackedEnds, GenerateWhatTheDecodedGenerate) {
  PackedEnds ends("qwen3");
  ends.pack(kEmbedding, {kW8, {}});
  const SamplingOptions greedy = {
      .sequences = 1, .length = 12, .rule = {.temperature = 0}, .seed = 1, .prompt = {3, 4, 5}};
  const auto found = generate(test::open_model(ends.packed.write()), greedy, {});
  const auto expected = generate(test::open_model(ends.decoded.write()), greedy, {});
  ASSERT_TRUE(found.ok() && expected.ok());
  EXPECT_EQ(*found, *expected);
}

TEST(TokenEmbedding, DecodesTheRowsOfItsTokens) {
  PackedEnds ends("llama2");
  ends.pack(kEmbedding, {kW4, {}});
  const std::vector<TokenId> tokens = {95, 0, 7, 7};
  const auto packed = test::open_model(ends.packed.write());
  const auto decoded = test::open_model(ends.decoded.write());
  EXPECT_EQ(packed.embedding().rows(tokens, 0).value(),
            decoded.embedding().rows(tokens, 0).value());
  EXPECT_EQ(packed.embedding().rows(std::vector<TokenId>{96}, 0).error().code, "runtime/bad-token");
  EXPECT_EQ(packed.embedding().rows(tokens, 62).error().code, "runtime/too-long");
}

// The error of opening the model, or of running these tokens through it to their logits.
Error error_of(const Path& folder, const std::vector<TokenId>& tokens = {3, 4, 5}) {
  const auto model = ReferenceModel::open(real_file_system(), folder);
  if (!model) return model.error();
  const auto states = model->final_states(std::vector<std::vector<TokenId>>{tokens}, {});
  if (!states) return states.error();
  const auto logits = model->logits(states->front());
  if (!logits) return logits.error();
  return {};
}

class DamagedEnds : public ::testing::TestWithParam<const char*> {
 protected:
  DamagedEnds() : ends_("llama2") {
    ends_.pack(kEmbedding, {kW4, {}});
    ends_.pack(kHead, {kW4, {}});
  }
  test::StoredTensor& part(const std::string& suffix) { return model_.tensors.at(name(suffix)); }
  std::string name(const std::string& suffix) const { return GetParam() + ("." + suffix); }
  void expect(const std::string& code) {
    const Error error = error_of(model_.write());
    EXPECT_EQ(error.code, code);
    EXPECT_THAT(error.message, HasSubstr(GetParam()));
  }

  PackedEnds ends_;
  test::AlteredModel& model_ = ends_.packed;
};

TEST_P(DamagedEnds, MissATensor) {
  for (const char* suffix :
       {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape"}) {
    const test::StoredTensor kept = part(suffix);
    model_.tensors.erase(name(suffix));
    expect("packed/missing-tensor");
    model_.tensors[name(suffix)] = kept;
  }
}

TEST_P(DamagedEnds, HaveFloatWeightsToo) {
  model_.set_floats(name("weight"), {96, 48}, std::vector<float>(96 * 48));
  expect("packed/both-weights");
}

TEST_P(DamagedEnds, AreOfAnotherShape) {
  std::swap(part("weight_scale").shape[0], part("weight_scale").shape[1]);
  expect("packed/wrong-shape");
}

TEST_P(DamagedEnds, AreOfAnotherType) {
  part("weight_packed").dtype = DType::f32;
  expect("packed/wrong-dtype");
}

TEST_P(DamagedEnds, HaveAScaleThatIsZero) {
  std::fill_n(part("weight_scale").bytes.begin() + 2 * (4 * 3 + 1), 2, std::byte{0});  // token 4
  expect("packed/bad-scale");
}

TEST_P(DamagedEnds, AreOfAnotherVocabulary) {
  model_.config["vocab_size"] = 90;
  const Error error = error_of(model_.write());
  EXPECT_EQ(error.code, "packed/wrong-shape");
}

INSTANTIATE_TEST_SUITE_P(Tables, DamagedEnds, ::testing::Values(kEmbedding, kHead),
                         [](const auto& table) {
                           return table.param == std::string(kHead) ? "Head" : "Embedding";
                         });

TEST(DamagedEmbedding, IsToldOfTheRowsThatAreRead) {
  PackedEnds ends("llama2");
  ends.pack(kEmbedding, {kW4, {}});
  auto& scales = ends.packed.tensors.at("model.embed_tokens.weight_scale").bytes;
  std::fill_n(scales.begin() + 2 * (90 * 3), 2, std::byte{0xFF});
  const Path folder = ends.packed.write();
  EXPECT_EQ(error_of(folder).code, "");
  const Error error = error_of(folder, {3, 90});
  EXPECT_EQ(error.code, "packed/bad-scale");
  EXPECT_THAT(error.message, HasSubstr("row 90"));
}

}  // namespace
}  // namespace lowbit
