#include "methods/bias.h"

#include "methods/tiny_run.h"
#include "support/temporary_folder.h"

namespace lowbit {
namespace {

// The error of the first block, round to nearest, on the windows whose means were taken: there are
// few tokens.
double error_of(const std::string& model, const std::vector<std::string>& more,
                const Path& output) {
  Run how{.settings = {"scheme.weights.bits=3", "scheme.activations.bits=16"},
          .model = model,
          .learns = false,
          .validates = false};
  how.settings.insert(how.settings.end(), more.begin(), more.end());
  const auto report = run(real_file_system(), output, how);
  EXPECT_TRUE(report.ok()) << report.error().message;
  return report.ok() ? report->blocks.front().mse_after : 0;
}

TEST(BiasCorrection, BringsBlocksNearerToTheTeacher) {
  for (const char* model : {"opt", "qwen2", "llama2-biases"}) {
    const testing::TemporaryFolder folder;
    const double plain = error_of(model, {}, folder.path() / "plain");
    const double corrected = error_of(model, {"compensate=bias"}, folder.path() / "corrected");
    EXPECT_LT(corrected, plain) << model;
    EXPECT_GT(corrected, 0) << model;
  }
}

TEST(BiasCorrection, ChangesNothingWithoutBiases) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(error_of("llama2", {}, folder.path() / "plain"),
            error_of("llama2", {"compensate=bias"}, folder.path() / "corrected"));
}

}  // namespace
}  // namespace lowbit
