#include "kernels/roof.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/threads.h"
#include "kernels/packed_weight.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kVectors = std::int64_t{1} << 23;  // of 64 bytes
constexpr int kRepeats = 4;

// Four cache lines at a time; `ahead`: vectors between a read and its prefetch, 0 for none.
LOWBIT_CLONES
std::int32_t sum_of(const Ints16* from, std::int64_t count, std::int64_t ahead) {
  Ints16 sums[4] = {};
  for (std::int64_t i = 0; i + 4 <= count; i += 4) {
    for (int k = 0; k < 4; ++k) {
      if (ahead > 0) __builtin_prefetch(from + i + k + ahead);
      sums[k] += from[i + k];
    }
  }
  const Ints16 sum = sums[0] + sums[1] + sums[2] + sums[3];
  return sum[0] + sum[15];
}

}  // namespace

double read_bandwidth() {
  const AlignedVector<Ints16> buffer(kVectors, Ints16{} + 1);
  std::vector<std::int32_t> sums(static_cast<std::size_t>(thread_count()));
  const std::int64_t share = kVectors / thread_count();
  double best = 0;
  for (const std::int64_t ahead : {0, 16, 32, 64}) {
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      parallel_for(thread_count(), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          // Prefetches past the end are harmless to the processor, and inside the buffer they stay.
          sums[static_cast<std::size_t>(t)] +=
              sum_of(buffer.data() + t * share, share - ahead, ahead);
        }
      });
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      best = std::max(best, static_cast<double>(kVectors * 64) / time.count());
    }
  }
  // The sums are used, so that the reads cannot be left out.
  return sums[0] == 1 ? 0.0 : best;
}

}  // namespace lowbit
