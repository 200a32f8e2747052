#include "runtime/logit_scan.h"

#include <algorithm>
#include <cmath>

#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kBlock = kLogitsPerBlock;

// Halves folded onto each other: loops that the compiler turns into vector instructions of any
// width, which it does not do for a running maximum (11 us for 128 256 logits, where that took
// 395).
float max_of_block(const float* logits) {
  float folded[kBlock / 2];
  for (std::int64_t i = 0; i < kBlock / 2; ++i) {
    folded[i] = std::max(logits[i], logits[i + kBlock / 2]);
  }
  for (std::int64_t i = 0; i < kBlock / 4; ++i) {
    folded[i] = std::max(folded[i], folded[i + kBlock / 4]);
  }
  for (std::int64_t i = 0; i < kBlock / 8; ++i) {
    folded[i] = std::max(folded[i], folded[i + kBlock / 8]);
  }
  return *std::max_element(folded, folded + kBlock / 8);
}

// A double for every block: float32 over a whole vocabulary would lose what the tail adds up to.
LOWBIT_CLONES double sum_of_exponentials(const float* logits, std::int64_t count, float top,
                                         float scale) {
  double sum = 0.0;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, count);
    Floats16 sums{};
    std::int64_t i = begin;
    for (; i + 16 <= end; i += 16) sums += exp16((load16(logits + i) - top) * scale);
    if (i < end) {
      const Floats16 last = exp16((load16_partial(logits + i, end - i) - top) * scale);
      for (std::int64_t lane = 0; lane < end - i; ++lane) sum += last[lane];
    }
    sum += reduce_sum(sums);
  }
  return sum;
}

}  // namespace

std::vector<float> block_maxima(std::span<const float> logits) {
  std::vector<float> maxima;
  maxima.reserve(logits.size() / kLogitsPerBlock + 1);
  for (; logits.size() >= kLogitsPerBlock; logits = logits.subspan(kLogitsPerBlock)) {
    maxima.push_back(max_of_block(logits.data()));
  }
  if (!logits.empty()) maxima.push_back(*std::max_element(logits.begin(), logits.end()));
  return maxima;
}

std::vector<TokenId> ids_from(std::span<const float> logits, std::span<const float> maxima,
                              float least) {
  std::vector<TokenId> ids;
  for (std::size_t block = 0; block < maxima.size(); ++block) {
    if (maxima[block] < least) continue;
    const std::size_t end = std::min((block + 1) * kLogitsPerBlock, logits.size());
    for (std::size_t id = block * kLogitsPerBlock; id < end; ++id) {
      if (logits[id] >= least) ids.push_back(static_cast<TokenId>(id));
    }
  }
  return ids;
}

double weight_sum(std::span<const float> logits, float top, double temperature) {
  // Colder than this is greedy in float32 already, and an infinite scale would make 0 * inf.
  constexpr double kColdest = 1e-30;
  const auto scale = static_cast<float>(1.0 / std::max(temperature, kColdest));
  // The partial vector's unused lanes may overflow exp16's domain; they are not read.
  return sum_of_exponentials(logits.data(), std::ssize(logits), top, scale);
}

}  // namespace lowbit
