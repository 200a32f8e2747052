#include "tools/outliers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/golden.h"
#include "support/temporary_folder.h"

namespace lowbit::test {
namespace {

using lowbit::testing::get_file;
using lowbit::testing::TemporaryFolder;

constexpr std::uint64_t kSeed = 7;

Path tiny_llama() { return Path(LOWBIT_SOURCE_DIR) / "models/tiny-llama"; }

TEST(OutlierModel, KeepsTheFunction) {
  const TemporaryFolder folder;
  const Status written = write_outlier_model(tiny_llama(), folder.path(), kSeed);
  ASSERT_TRUE(written.ok()) << written.error().message;
  const std::vector<TokenId> tokens = {5, 100, 31, 7, 900, 12, 44, 260, 3, 71};
  const auto before = logits_of(open_model(tiny_llama()), tokens);
  const auto after = logits_of(open_model(folder.path()), tokens);
  EXPECT_LT(largest_difference(before, after), 1e-3);  // of logits up to about 20, in float32
}

TEST(OutlierModel, GrowsChannelsOfBothNorms) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_outlier_model(tiny_llama(), folder.path(), kSeed).ok());
  const auto source = open_model(tiny_llama());
  const auto grown = open_model(folder.path());
  const BlockSpec block = source.spec().block(0);
  for (const NormSpec* norm : {&block.attention_norm, &block.ffn_norm}) {
    const auto before = source.checkpoint().floats(norm->name + ".weight", {norm->width}).value();
    const auto after = grown.checkpoint().floats(norm->name + ".weight", {norm->width}).value();
    std::int64_t changed = 0;
    for (std::size_t channel = 0; channel < before.size(); ++channel) {
      if (before[channel] == after[channel]) continue;
      ++changed;
      EXPECT_GE(after[channel] / before[channel], 19.999F);
      EXPECT_LE(after[channel] / before[channel], 50.001F);
    }
    EXPECT_EQ(changed, std::max<std::int64_t>(2, norm->width / 100)) << norm->name;
  }
}

TEST(OutlierModel, GivesTheSameBytesForTheSameSeed) {
  const TemporaryFolder folder;
  for (const auto& [name, seed] : {std::pair{"a", 1U}, {"b", 1U}, {"c", 2U}}) {
    ASSERT_TRUE(write_outlier_model(tiny_llama(), folder / name, seed).ok());
  }
  const std::string first = get_file(folder / "a" / "model.safetensors");
  EXPECT_TRUE(first == get_file(folder / "b" / "model.safetensors"));
  EXPECT_FALSE(first == get_file(folder / "c" / "model.safetensors"));
}

TEST(OutlierModel, RefusesAFamilyWithoutAGate) {
  const TemporaryFolder folder;
  const Status written = write_outlier_model(model_folder("opt"), folder.path(), kSeed);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, "outliers/no-gate");
}

}  // namespace
}  // namespace lowbit::test
