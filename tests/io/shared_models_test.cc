// The real models beside the repository, where they are there.
#include <gtest/gtest.h>

#include "io/checkpoint.h"

namespace lowbit {
namespace {

class SharedModel : public ::testing::TestWithParam<const char*> {};

TEST_P(SharedModel, OpensAndAllItsFloatsAreFinite) {
  const Path folder = Path(LOWBIT_SOURCE_DIR) / "../shared/models" / GetParam();
  if (!real_file_system().exists(folder)) GTEST_SKIP() << "no " << folder << " here";
  const auto checkpoint = Checkpoint::open(real_file_system(), folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  ASSERT_FALSE(checkpoint->names().empty());
  for (const std::string& name : checkpoint->names()) {
    const auto info = checkpoint->tensor(name)->info;
    const auto values = checkpoint->floats(name, info->shape);
    ASSERT_TRUE(values.ok()) << values.error().message;
    EXPECT_EQ(static_cast<std::int64_t>(values->size()), info->elements());
  }
}

INSTANTIATE_TEST_SUITE_P(Named, SharedModel,
                         ::testing::Values("mini-llama", "mini-qwen", "tiny-llama"));

}  // namespace
}  // namespace lowbit
