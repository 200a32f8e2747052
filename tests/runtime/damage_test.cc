// A checkpoint that does not fit its config, or is damaged, is an error that names the tensor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "runtime/altered_model.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

constexpr char kDown[] = "model.layers.1.mlp.down_proj.weight";

// The error of opening the folder and running one window through it.
Error error_of(const Path& folder, const std::vector<TokenId>& window = {3, 4, 5}) {
  const auto model = ReferenceModel::open(real_file_system(), folder);
  if (!model) return model.error();
  const auto states = model->final_states(std::vector<std::vector<TokenId>>{window}, {});
  if (!states) return states.error();
  ADD_FAILURE() << "no error";
  return {};
}

TEST(DamagedModel, MissesATensor) {
  test::AlteredModel model("llama2");
  model.tensors.erase(kDown);
  const Error error = error_of(model.write());
  EXPECT_EQ(error.code, "checkpoint/missing-tensor");
  EXPECT_THAT(error.message, HasSubstr(kDown));
}

TEST(DamagedModel, HasATensorOfAnotherShape) {
  test::AlteredModel model("llama2");
  std::swap(model.tensors[kDown].shape[0], model.tensors[kDown].shape[1]);
  const Error error = error_of(model.write());
  EXPECT_EQ(error.code, "checkpoint/wrong-shape");
  EXPECT_THAT(error.message, HasSubstr(kDown));
}

TEST(DamagedModel, HasANotANumber) {
  test::AlteredModel model("llama2");
  model.tensors[kDown].bytes[2] = std::byte{0xFF};  // bfloat16 0x7FFF
  model.tensors[kDown].bytes[3] = std::byte{0x7F};
  const Error error = error_of(model.write());
  EXPECT_EQ(error.code, "checkpoint/non-finite");
  EXPECT_THAT(error.message, HasSubstr(kDown));
}

TEST(DamagedModel, HasAnEmbeddingOfAnotherVocabulary) {
  test::AlteredModel model("llama2");
  model.config["vocab_size"] = 90;
  EXPECT_EQ(error_of(model.write()).code, "checkpoint/wrong-shape");
}

TEST(DamagedModel, HasABiasThatTheConfigDenies) {
  test::AlteredModel model("qwen2");
  const std::string bias = "model.layers.0.self_attn.o_proj.bias";
  model.set_floats(bias, {48}, std::vector<float>(48, 1.0F));
  const Error error = error_of(model.write());
  EXPECT_EQ(error.code, "runtime/unexpected-bias");
  EXPECT_THAT(error.message, HasSubstr(bias));
}

TEST(DamagedModel, Overflows) {
  test::AlteredModel model("llama2");
  const std::string up = "model.layers.0.mlp.up_proj.weight";
  model.set_floats(up, {80, 48}, std::vector<float>(80 * 48, 3e38F));
  const Error error = error_of(model.write());
  EXPECT_EQ(error.code, "runtime/non-finite");
  EXPECT_THAT(error.message, HasSubstr("block 0"));
}

TEST(DamagedModel, IsCutShort) {
  test::AlteredModel model("llama2");
  const Path file = model.write() / "model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 100);
  const Error error = error_of(file.parent_path());
  EXPECT_EQ(error.kind, ErrorKind::bad_input);
  EXPECT_THAT(error.code, HasSubstr("safetensors/"));
}

TEST(DamagedModel, IsOfAnUnknownArchitecture) {
  test::AlteredModel model("llama2");
  model.config["architectures"] = {"GPT2LMHeadModel"};
  const Path folder = model.write();
  const Error error = error_of(folder);
  EXPECT_EQ(error.code, "model/unsupported-architecture");
  EXPECT_THAT(error.message, HasSubstr(folder.string()));
}

TEST(WrongInput, HasATokenThatTheModelDoesNot) {
  EXPECT_EQ(error_of(test::model_folder("llama2"), {3, 96}).code, "runtime/bad-token");
  EXPECT_EQ(error_of(test::model_folder("llama2"), {3, -1}).code, "runtime/bad-token");
}

TEST(WrongInput, IsLongerThanTheModelsPositions) {
  EXPECT_EQ(error_of(test::model_folder("opt"), std::vector<TokenId>(65, 3)).code,
            "runtime/too-long");
}

TEST(TiedHead, IgnoresAStoredHead) {
  test::AlteredModel model("qwen3");
  const auto golden = test::read_golden(test::model_folder("qwen3") / "golden.safetensors");
  model.set_floats("lm_head.weight", {96, 32}, std::vector<float>(96 * 32, 1.0F));
  const auto logits = test::logits_of(test::open_model(model.write()), golden.tokens);
  EXPECT_LT(test::largest_difference(logits, golden.logits), 1e-4);
}

}  // namespace
}  // namespace lowbit
