// The tokenizers of the shared models against their golden.json.
#include "base/file.h"
#include "text/golden_file.h"
#include "text/stream_checks.h"

namespace lowbit {
namespace {

class SharedTokenizer : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedTokenizer, GivesTheIdsAndTextsOfGoldenJson) {
  const Path folder = Path(LOWBIT_SOURCE_DIR) / "../shared/models" / GetParam();
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no model at " << folder;
  const auto tokenizer = Tokenizer::load(real_file_system(), folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const Json golden = parse_json(testing::file_text((folder / "golden.json").string())).value();
  EXPECT_EQ(golden.at("tokenizer").size(), 33u);
  testing::expect_golden(*tokenizer, golden.at("tokenizer"));
}

TEST_P(SharedTokenizer, StreamsAsItDecodes) {
  const Path folder = Path(LOWBIT_SOURCE_DIR) / "../shared/models" / GetParam();
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no model at " << folder;
  testing::expect_streams_as_decoded(Tokenizer::load(real_file_system(), folder).value());
}

INSTANTIATE_TEST_SUITE_P(Models, SharedTokenizer,
                         ::testing::Values("tiny-llama", "mini-llama", "mini-qwen"),
                         [](const auto& model) {
                           std::string name = model.param;
                           name[4] = '_';
                           return name;
                         });

}  // namespace
}  // namespace lowbit
