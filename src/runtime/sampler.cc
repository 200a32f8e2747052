#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/check.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;  // SplitMix64's increment

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Token ids by falling logit, ties by id; only the first `count` are in order.
std::vector<TokenId> leaders(std::span<const float> logits, std::int64_t count) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [&](TokenId a, TokenId b) {
    const float left = logits[static_cast<std::size_t>(a)];
    const float right = logits[static_cast<std::size_t>(b)];
    return left != right ? left > right : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(), before);
  ids.resize(static_cast<std::size_t>(count));
  return ids;
}

}  // namespace

RandomNumbers::RandomNumbers(std::uint64_t seed, std::uint64_t stream)
    : state_(mix(seed + kGolden) ^ mix(stream * kGolden + 1)) {}

std::uint64_t RandomNumbers::next() {
  state_ += kGolden;
  return mix(state_);
}

double RandomNumbers::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

std::int64_t RandomNumbers::below(std::int64_t count) {
  return static_cast<std::int64_t>(uniform() * static_cast<double>(count));
}

TokenId sample(std::span<const float> logits, const SamplingRule& rule, RandomNumbers& random) {
  CHECK(!logits.empty());
  const auto top = std::max_element(logits.begin(), logits.end());
  if (rule.temperature <= 0.0) return static_cast<TokenId>(top - logits.begin());

  const std::int64_t size = std::ssize(logits);
  std::vector<TokenId> ids;
  if (rule.top_k > 0 && rule.top_k < size) {
    ids = leaders(logits, rule.top_k);
  } else {
    ids.resize(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
  }
  std::vector<double> sums;  // of weights up to and with each candidate
  sums.reserve(ids.size());
  double sum = 0.0;
  for (const TokenId id : ids) {
    const double distance = static_cast<double>(logits[static_cast<std::size_t>(id)]) - *top;
    sum += std::exp(distance / rule.temperature);
    sums.push_back(sum);
  }
  const auto chosen = std::upper_bound(sums.begin(), sums.end(), random.uniform() * sum);
  // Rounding may put the draw on the last sum itself.
  return ids[static_cast<std::size_t>(std::min(chosen - sums.begin(), std::ssize(sums) - 1))];
}

}  // namespace lowbit
