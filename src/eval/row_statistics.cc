#include "eval/row_statistics.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

// Lanes are added up in float32 for this many values, then in double.
constexpr std::int64_t kRun = 256;

LOWBIT_INLINE Floats16 load_up_to_16(const float* from, std::int64_t count, float filler) {
  if (count >= 16) return load16(from);
  Floats16 values = splat16(filler);
  std::memcpy(&values, from, static_cast<std::size_t>(count) * sizeof(float));
  return values;
}

LOWBIT_CLONES double sum_of_exponentials(const float* x, std::int64_t count, float top) {
  double total = 0.0;
  for (std::int64_t run = 0; run < count; run += kRun) {
    const std::int64_t end = std::min(run + kRun, count);
    Floats16 sums{};
    for (std::int64_t i = run; i < end; i += 16) {
      sums += exp16(load_up_to_16(x + i, end - i, -INFINITY) - top);
    }
    total += reduce_sum(sums);
  }
  return total;
}

struct WeightedDifference {
  double weights;      // sum exp(r - top)
  double differences;  // sum exp(r - top) (r - q)
};

LOWBIT_CLONES WeightedDifference weighted_difference(const float* reference, const float* logits,
                                                     std::int64_t count, float top) {
  WeightedDifference total{0.0, 0.0};
  for (std::int64_t run = 0; run < count; run += kRun) {
    const std::int64_t end = std::min(run + kRun, count);
    Floats16 weights{};
    Floats16 differences{};
    for (std::int64_t i = run; i < end; i += 16) {
      const Floats16 r = load_up_to_16(reference + i, end - i, top - 1000.0F);  // weighs nothing
      const Floats16 q = load_up_to_16(logits + i, end - i, top - 1000.0F);
      const Floats16 weight = exp16(r - top);
      weights += weight;
      differences += weight * (r - q);
    }
    total.weights += reduce_sum(weights);
    total.differences += reduce_sum(differences);
  }
  return total;
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  CHECK(!logits.empty());
  // A sum that any NaN or infinity spoils; a maximum would hide them.
  if (!std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); })) {
    return std::nan("");
  }
  const float top = *std::max_element(logits.begin(), logits.end());
  return top + std::log(sum_of_exponentials(logits.data(), std::ssize(logits), top));
}

double kl_divergence(std::span<const float> reference, double reference_log_sum,
                     std::span<const float> logits, double log_sum) {
  CHECK(reference.size() == logits.size());
  // sum p (log p - log q) = sum p (r - q) - (lse r - lse q): differences of logits are exact where
  // they matter, and no logarithm of a small probability is taken.
  const float top = *std::max_element(reference.begin(), reference.end());
  const auto sums = weighted_difference(reference.data(), logits.data(), std::ssize(logits), top);
  return sums.differences / sums.weights - (reference_log_sum - log_sum);
}

std::int64_t largest_index(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

}  // namespace lowbit
