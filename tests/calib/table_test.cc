// Tables in runs of rows: the same bytes as a weight that is quantized whole.
#include "calib/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/temporary_folder.h"

namespace lowbit {
namespace {

using testing::TemporaryFolder;

GroupParameters widest(const Tensor& rows, const WeightScheme& scheme) {
  const Tensor groups = rows.view({rows.size(0), -1, scheme.group_size});
  const Tensor low = groups.amin(2).clamp_max(0.0);
  const Tensor scale = (groups.amax(2).clamp_min(0.0) - low) / ((1 << scheme.bits) - 1);
  return {.scale = scale, .zero = (-low / scale).round()};
}

class Tables : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      values_[i] = std::sin(static_cast<float>(i % 10007) * 0.37F) + 0.1F;
    }
    const TensorToWrite tensor{
        "lm_head.weight", DType::f32, {kRows, kIn}, std::as_bytes(std::span(values_))};
    ASSERT_TRUE(write_safetensors(real_file_system(), file(), {&tensor, 1}).ok());
    source_.emplace(Checkpoint::open_weights(real_file_system(), file()).value());
  }
  Path file() const { return folder_.path() / "model.safetensors"; }

  // More than two runs of 2^22 values; the last is no multiple of 32 rows.
  static constexpr std::int64_t kRows = 2 * 1024 + 77, kIn = 4096;
  TemporaryFolder folder_;
  std::vector<float> values_ = std::vector<float>(kRows * kIn);
  std::optional<Checkpoint> source_;
  PlannedTable table_{.linear = {.name = "lm_head", .out = kRows, .in = kIn},
                      .scheme = {{.bits = 3, .group_size = 128}, {}}};
};

TEST_F(Tables, AreTheSameFromRunsOfRows) {
  const Tensor whole = to_tensor(values_, {kRows, kIn});
  const GroupParameters range = widest(whole, table_.scheme.weight);
  const PackedTensors expected(
      "lm_head", quantize_group_affine(values_, kRows, kIn, table_.scheme.weight,
                                       to_floats(range.scale), to_floats(range.zero), DType::f16));
  double done = 0;
  const auto packed = pack_table(*source_, table_, widest, [&](double fraction) -> Status {
    EXPECT_GT(fraction, done);
    done = fraction;
    return {};
  });
  ASSERT_TRUE(packed.ok()) << packed.error().message;
  EXPECT_DOUBLE_EQ(done, 1.0);
  const auto found = packed->tensors();
  ASSERT_EQ(found.size(), 4U);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].shape, expected.tensors()[i].shape) << found[i].name;
    EXPECT_TRUE(std::ranges::equal(found[i].bytes, expected.tensors()[i].bytes)) << found[i].name;
  }
}

TEST_F(Tables, StopWhenTold) {
  const auto packed = pack_table(*source_, table_, widest, [](double) -> Status {
    return Error{ErrorKind::interrupted, "quantize/interrupted", "enough"};
  });
  ASSERT_FALSE(packed.ok());
  EXPECT_EQ(packed.error().code, "quantize/interrupted");
}

}  // namespace
}  // namespace lowbit
