#include "runtime/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "runtime/logit_scan.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;  // SplitMix64's increment

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

struct Candidate {
  TokenId id = 0;
  double weight = 0.0;  // its probability over that of the likeliest
};

bool likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

// A value per token: a token that comes twice is not penalised twice.
std::vector<float> penalised(std::span<const float> logits, const SamplingRule& rule,
                             std::span<const TokenId> so_far) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (rule.penalty_window > 0 && rule.penalty_window < std::ssize(so_far)) {
    so_far = so_far.last(static_cast<std::size_t>(rule.penalty_window));
  }
  std::vector<float> result(logits.begin(), logits.end());
  for (const TokenId token : so_far) {
    const auto id = static_cast<std::size_t>(token);
    if (id >= result.size()) continue;  // of a tokenizer with more tokens than the model
    const double logit = logits[id];
    const double changed =
        logit < 0.0 ? logit * rule.repetition_penalty : logit / rule.repetition_penalty;
    result[id] = static_cast<float>(std::clamp(changed, -kMost, kMost));
  }
  return result;
}

// The ids of the `count` largest logits, falling, ties by id.
std::vector<TokenId> leaders(std::span<const float> logits, const std::vector<float>& maxima,
                             std::int64_t count) {
  // Where there are as many blocks, the count-th largest of their maxima has at least so many
  // logits from it on, and seldom many more: only these are sorted.
  float least = -std::numeric_limits<float>::infinity();
  if (count <= std::ssize(maxima)) {
    std::vector<float> falling = maxima;
    const auto place = falling.begin() + (count - 1);
    std::nth_element(falling.begin(), place, falling.end(), std::greater<>());
    least = *place;
  }
  std::vector<TokenId> ids = ids_from(logits, maxima, least);
  const auto before = [&](TokenId a, TokenId b) {
    const float left = logits[static_cast<std::size_t>(a)];
    const float right = logits[static_cast<std::size_t>(b)];
    return left != right ? left > right : a < b;
  };
  const auto end = ids.begin() + count;
  std::nth_element(ids.begin(), end - 1, ids.end(), before);
  std::sort(ids.begin(), end, before);
  ids.resize(static_cast<std::size_t>(count));
  return ids;
}

// A logit below which no token can be kept. Tokens whose probability is under (1 - top_p) / their
// number have less than 1 - top_p together, so all of them lie outside.
float least_logit(float top, double sum, std::size_t count, const SamplingRule& rule) {
  const double share = (1.0 - rule.top_p) * sum / static_cast<double>(count);
  constexpr double kMargin = 0.99;  // for the rounding of both sides; what it lets in is cut later
  const double logit = top + rule.temperature * std::log(kMargin * std::max(share, rule.min_p));
  const auto most = static_cast<double>(std::numeric_limits<float>::max());
  return std::nextafter(static_cast<float>(std::max(logit, -most)),
                        -std::numeric_limits<float>::infinity());
}

// The last candidate, by falling weight, before which there is less weight than `mass`. Halving at
// the median takes time linear in the candidates, however flat the distribution is.
Candidate last_within(std::vector<Candidate> candidates, double mass) {
  auto begin = candidates.begin();
  auto end = candidates.end();
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, likelier);
    double before = 0.0;
    for (auto at = begin; at != middle; ++at) before += at->weight;
    if (before < mass) {
      mass -= before;
      begin = middle;
    } else {
      end = middle;
    }
  }
  return *begin;
}

// What may be drawn: in falling order with top_k, else by id.
std::vector<Candidate> candidates_of(std::span<const float> logits, const SamplingRule& rule,
                                     const std::vector<float>& maxima, float top) {
  const bool chosen = rule.top_k > 0 && rule.top_k < std::ssize(logits);
  double sum = 0.0;
  std::vector<TokenId> ids;
  if (chosen) {
    ids = leaders(logits, maxima, rule.top_k);
  } else if (rule.top_p < 1.0 || rule.min_p > 0.0) {
    sum = weight_sum(logits, top, rule.temperature);
    ids = ids_from(logits, maxima, least_logit(top, sum, logits.size(), rule));
  } else {
    ids.resize(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
  }
  std::vector<Candidate> candidates;
  candidates.reserve(ids.size());
  for (const TokenId id : ids) {
    const double distance = static_cast<double>(logits[static_cast<std::size_t>(id)]) - top;
    candidates.push_back({id, std::exp(distance / rule.temperature)});
    if (chosen) sum += candidates.back().weight;
  }
  if (rule.top_p < 1.0) {
    const Candidate last = last_within(candidates, rule.top_p * sum);
    std::erase_if(candidates, [&](const Candidate& c) { return likelier(last, c); });
  }
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < rule.min_p; });
  return candidates;
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

Status check(const SamplingRule& rule) {
  const auto refuse = [](std::string message) {
    return usage_error("sampling/bad-rule", std::move(message));
  };
  // Written so that NaN fails them.
  if (!(std::isfinite(rule.temperature) && rule.temperature >= 0.0)) {
    return refuse(fmt::format("temperature {}; take 0 (greedy) or more", rule.temperature));
  }
  if (rule.top_k < 0) return refuse(fmt::format("top_k {}; take 0 (all) or more", rule.top_k));
  if (!(rule.top_p >= 0.0 && rule.top_p <= 1.0)) {
    return refuse(fmt::format("top_p {}; take 0 to 1 (all)", rule.top_p));
  }
  if (!(rule.min_p >= 0.0 && rule.min_p <= 1.0)) {
    return refuse(fmt::format("min_p {}; take 0 (all) to 1", rule.min_p));
  }
  if (!(std::isfinite(rule.repetition_penalty) && rule.repetition_penalty > 0.0)) {
    return refuse(
        fmt::format("repetition_penalty {}; take more than 0, 1 is none", rule.repetition_penalty));
  }
  if (rule.penalty_window < 0) {
    return refuse(fmt::format("penalty_window {}; take 0 (all) or more", rule.penalty_window));
  }
  return {};
}

TokenId sample(std::span<const float> logits, const SamplingRule& rule,
               std::span<const TokenId> so_far, RandomNumbers& random) {
  CHECK(!logits.empty());
  std::vector<float> changed;
  if (rule.repetition_penalty != 1.0) {
    changed = penalised(logits, rule, so_far);
    logits = changed;
  }
  const std::vector<float> maxima = block_maxima(logits);
  const float top = *std::max_element(maxima.begin(), maxima.end());
  if (rule.temperature <= 0.0) return ids_from(logits, maxima, top).front();

  const std::vector<Candidate> candidates = candidates_of(logits, rule, maxima, top);
  double sum = 0.0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  const double drawn = random.uniform() * sum;
  double passed = 0.0;
  for (const Candidate& candidate : candidates) {
    passed += candidate.weight;
    if (passed > drawn) return candidate.id;
  }
  return candidates.back().id;  // rounding may put the draw on the last sum itself
}

}  // namespace lowbit
