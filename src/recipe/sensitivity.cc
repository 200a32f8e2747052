#include "recipe/sensitivity.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/threads.h"

namespace lowbit {
namespace {

// Values are summed in runs of this length, and the runs' sums in order: the result is the same for
// every thread count, and rounding grows with the number of runs instead of the number of values.
constexpr std::int64_t kRun = 1 << 14;

struct Moments {
  double second = 0;
  double fourth = 0;
};

// sum_of(begin, end) of each run, in order.
template <typename Sum, typename SumOf>
std::vector<Sum> sums_of_runs(std::int64_t count, const SumOf& sum_of) {
  const std::int64_t runs = (count + kRun - 1) / kRun;
  std::vector<Sum> sums(static_cast<std::size_t>(runs));
  parallel_for(runs, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t run = begin; run < end; ++run) {
      sums[static_cast<std::size_t>(run)] = sum_of(run * kRun, std::min(count, (run + 1) * kRun));
    }
  });
  return sums;
}

}  // namespace

std::string_view name(Sensitivity sensitivity) {
  switch (sensitivity) {
    case Sensitivity::robust:
      return "robust";
    case Sensitivity::moderate:
      return "moderate";
    case Sensitivity::sensitive:
      return "sensitive";
  }
  CHECK(false);
}

double excess_kurtosis(std::span<const float> values) {
  if (values.empty()) return 0;
  const auto count = static_cast<std::int64_t>(values.size());
  const std::vector<double> sums =
      sums_of_runs<double>(count, [&](std::int64_t begin, std::int64_t end) {
        return std::accumulate(values.begin() + begin, values.begin() + end, 0.0);
      });
  const double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(count);

  // A second pass around the mean: m4 from raw moments would lose all digits for a shifted weight.
  const std::vector<Moments> moments =
      sums_of_runs<Moments>(count, [&](std::int64_t begin, std::int64_t end) {
        Moments sum;
        for (std::int64_t i = begin; i < end; ++i) {
          const double deviation = static_cast<double>(values[static_cast<std::size_t>(i)]) - mean;
          const double square = deviation * deviation;
          sum.second += square;
          sum.fourth += square * square;
        }
        return sum;
      });
  Moments total;
  for (const Moments& run : moments) {
    total.second += run.second;
    total.fourth += run.fourth;
  }
  const double variance = total.second / static_cast<double>(count);
  const double fourth = total.fourth / static_cast<double>(count);
  if (variance <= 0 || variance * variance <= 0) return 0;
  return fourth / (variance * variance) - 3.0;
}

Status check_float_weights(const Checkpoint& checkpoint) {
  if (!checkpoint.config().contains("quantization_config")) return {};
  return bad_input(
      "model/already-quantized",
      fmt::format("{}: config.json has a quantization_config, so its weights are packed; "
                  "give the float model that it was made from",
                  checkpoint.folder().string()));
}

Result<std::vector<BlockStatistics>> weight_statistics(const Checkpoint& checkpoint,
                                                       const ModelSpec& model) {
  const Status is_float = check_float_weights(checkpoint);
  if (!is_float) return is_float.error();
  std::vector<BlockStatistics> blocks;
  for (std::int64_t index = 0; index < model.blocks; ++index) {
    const BlockSpec spec = model.block(index);
    BlockStatistics block;
    for (const LinearSpec* linear : spec.linears()) {
      const Result<std::vector<float>> weight =
          checkpoint.floats(linear->name + ".weight", {linear->out, linear->in});
      if (!weight) return weight.error();
      const auto [low, high] = std::minmax_element(weight->begin(), weight->end());
      block.linears.push_back({linear->name, excess_kurtosis(*weight), *low, *high});
      block.kurtosis += block.linears.back().kurtosis;
    }
    block.kurtosis /= static_cast<double>(block.linears.size());
    blocks.push_back(std::move(block));
  }
  return blocks;
}

std::vector<Sensitivity> split_by_sensitivity(std::span<const double> kurtosis) {
  const std::size_t blocks = kurtosis.size();
  std::vector<std::size_t> order(blocks);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t left, std::size_t right) {
    return kurtosis[left] < kurtosis[right];
  });

  std::size_t robust = blocks / 5 / 3 * 3;
  std::size_t sensitive = robust * 4 / 3;
  if (blocks < 15) {  // the published rule selects none
    robust = std::max<std::size_t>(blocks / 8, blocks >= 4 ? 1 : 0);
    sensitive = robust;
  }
  std::vector<Sensitivity> split(blocks, Sensitivity::moderate);
  for (std::size_t i = 0; i < robust; ++i) split[order[i]] = Sensitivity::robust;
  for (std::size_t i = 0; i < sensitive; ++i) split[order[blocks - 1 - i]] = Sensitivity::sensitive;
  return split;
}

}  // namespace lowbit
