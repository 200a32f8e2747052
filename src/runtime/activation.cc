#include "runtime/activation.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kValuesPerThread = 4096;
constexpr float kLargestExponent = 88.0F;  // exp16's domain; silu(-88) is 0 to float32's last digit

LOWBIT_INLINE Floats16 silu16(Floats16 x) {
  return x / (exp16(min16(-x, splat16(kLargestExponent))) + 1.0F);
}

LOWBIT_CLONES void silu_run(float* x, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) store16(x + i, silu16(load16(x + i)));
  if (i == count) return;
  const Floats16 last = silu16(load16_partial(x + i, count - i));
  std::memcpy(x + i, &last, static_cast<std::size_t>(count - i) * sizeof(float));
}

void relu_run(float* x, std::int64_t count) {
  // A comparison that NaN fails the right way round: NaN stays NaN.
  for (std::int64_t i = 0; i < count; ++i) x[i] = x[i] < 0.0F ? 0.0F : x[i];
}

}  // namespace

void activate(Activation activation, std::span<float> x, std::span<const float> factor) {
  CHECK(factor.empty() || factor.size() == x.size());
  const auto run = activation == Activation::silu ? silu_run : relu_run;
  parallel_for(std::ssize(x), kValuesPerThread, [&](std::int64_t begin, std::int64_t end) {
    run(x.data() + begin, end - begin);
    if (factor.empty()) return;
    for (std::int64_t i = begin; i < end; ++i) {
      x[static_cast<std::size_t>(i)] *= factor[static_cast<std::size_t>(i)];
    }
  });
}

}  // namespace lowbit
