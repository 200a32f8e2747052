// What `compare` keeps, and what it takes for its own again.
#include "cli/stored_comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using lowbit::testing::put_file;
using lowbit::testing::TemporaryFolder;

StoredComparison example() {
  StoredComparison stored;
  stored.run = "r";
  stored.quantize_seconds = 12.5;
  stored.resumed = true;
  stored.weight_bytes = 1234;
  stored.windows_sha256 = "w";
  stored.evaluation.perplexity = std::numeric_limits<double>::infinity();
  stored.evaluation.windows = 3;
  stored.evaluation.kl = 0.25;
  stored.evaluation.reference_perplexity = 20.5;
  stored.evaluation.bits_per_weight = 4.25;
  return stored;
}

Result<std::optional<StoredComparison>> read_back(const std::string& text) {
  const TemporaryFolder folder;
  put_file(folder / "a.json", text);
  return read_stored_comparison(real_file_system(), folder / "a.json");
}

TEST(StoredComparison, IsReadAsItWasWritten) {
  const TemporaryFolder folder;
  const Path path = folder / "a.json";
  ASSERT_TRUE(write_stored_comparison(real_file_system(), path, example()).ok());
  const auto stored = read_stored_comparison(real_file_system(), path);
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  ASSERT_TRUE(stored->has_value());
  EXPECT_EQ((*stored)->run, "r");
  EXPECT_EQ((*stored)->quantize_seconds, 12.5);
  EXPECT_TRUE((*stored)->resumed);
  EXPECT_EQ((*stored)->weight_bytes, 1234U);
  EXPECT_EQ((*stored)->windows_sha256, "w");
  const Evaluation& evaluation = (*stored)->evaluation;
  EXPECT_EQ(evaluation.perplexity, std::numeric_limits<double>::infinity());
  EXPECT_EQ(evaluation.windows, 3);
  EXPECT_EQ(evaluation.kl, 0.25);
  EXPECT_EQ(evaluation.kl_standard_error, std::nullopt);
  EXPECT_EQ(evaluation.reference_perplexity, 20.5);
  EXPECT_EQ(evaluation.bits_per_weight, 4.25);
}

TEST(StoredComparison, MayBeOfAModelThatIsNotMeasuredYet) {
  const TemporaryFolder folder;
  const Path path = folder / "a.json";
  StoredComparison packed;
  packed.run = "r";
  ASSERT_TRUE(write_stored_comparison(real_file_system(), path, packed).ok());
  const auto stored = read_stored_comparison(real_file_system(), path);
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  EXPECT_EQ((*stored)->quantize_seconds, std::nullopt);
  EXPECT_EQ((*stored)->windows_sha256, "");
}

TEST(StoredComparison, IsNoneWhereThereIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_FALSE(read_stored_comparison(real_file_system(), folder / "a.json")->has_value());
}

TEST(StoredComparison, RefusesWhatItDidNotWrite) {
  const std::string begin = R"({"lowbit_comparison": 1, "run": "r", "quantize_seconds": null,
      "resumed": false, "weight_bytes": 1, "windows_sha256": "w", "evaluation": )";
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string("{}"), begin + "null}", begin + "{}}",
        begin + R"({"perplexity": 1, "windows": "many"}})"}) {
    const auto stored = read_back(text);
    ASSERT_FALSE(stored.ok()) << text;
    EXPECT_EQ(stored.error().code, "compare/damaged-result");
  }
}

TEST(ComparisonFolder, IsAPlainName) {
  EXPECT_EQ(comparison_folder_name("rtn-w4a4"), "rtn-w4a4");
  EXPECT_EQ(comparison_folder_name("paper/frm-w4a4"), "paper-frm-w4a4");
  EXPECT_EQ(comparison_folder_name("some/where/mine.toml"), "mine");
}

TEST(WindowsSum, TellsCutsOfTheSameTokensApart) {
  const std::vector<std::vector<TokenId>> one = {{1, 2, 3, 4}}, two = {{1, 2}, {3, 4}};
  EXPECT_NE(windows_sha256(one), windows_sha256(two));
}

}  // namespace
}  // namespace lowbit
