// The differentiable block against the source model's reference logits, family by family.
#include "calib/block.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/embedding.h"
#include "runtime/reference_model.h"
#include "support/families.h"

namespace lowbit {
namespace {

class TorchBlocks : public ::testing::TestWithParam<const char*> {};

// All blocks in sequence give the hidden states that the runtime gives (whose logits are tested
// against transformers): two implementations of every family that share no arithmetic.
TEST_P(TorchBlocks, GiveTheRuntimesHiddenStates) {
  const Path folder = Path(LOWBIT_SOURCE_DIR) / "tests/data/models" / GetParam();
  auto model = ReferenceModel::open(real_file_system(), folder);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const ModelSpec& spec = model->spec();
  std::vector<TokenId> tokens;
  for (int t = 0; t < 24; ++t) tokens.push_back((t * 37 + 5) % static_cast<int>(spec.vocabulary));
  const std::vector<std::vector<TokenId>> windows = {tokens};
  auto expected = model->final_states(windows, {});
  ASSERT_TRUE(expected.ok()) << expected.error().message;

  const auto rows = model->embedding().rows(tokens, 0);
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  Tensor x = to_tensor(*rows, {std::ssize(tokens), spec.hidden});
  for (std::int64_t k = 0; k < spec.blocks; ++k) {
    auto block = TorchBlock::load(model->checkpoint(), spec, k, at::kCPU);
    ASSERT_TRUE(block.ok()) << block.error().message;
    x = block->forward(x);
  }
  const auto weight = model->checkpoint().floats(spec.final_norm.name + ".weight", {spec.hidden});
  ASSERT_TRUE(weight.ok());
  const Tensor gain = to_tensor(*weight, {spec.hidden});
  if (spec.norm == NormKind::layer) {
    const auto bias = model->checkpoint().floats(spec.final_norm.name + ".bias", {spec.hidden});
    ASSERT_TRUE(bias.ok());
    x = at::layer_norm(x, {spec.hidden}, gain, to_tensor(*bias, {spec.hidden}), spec.norm_epsilon);
  } else {
    x = x * at::rsqrt(x.square().mean(-1, true) + spec.norm_epsilon) * gain;
  }
  const Tensor reference = to_tensor(expected->front(), {x.size(0), spec.hidden});
  EXPECT_LT((x - reference).abs().max().item<double>(), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Families, TorchBlocks, testing::family_models(),
                         testing::family_test_name);

}  // namespace
}  // namespace lowbit
