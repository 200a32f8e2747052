#include "runtime/activation.h"

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kValuesPerThread = 4096;
constexpr float kLargestExponent =
    88.0F;  // exp_of's domain; silu(-88) is 0 to float32's last digit

// Eight lanes on every processor: three units of AVX-512 take these and two take sixteen, and AVX2
// would keep sixteen in memory. `factor` may be null.
LOWBIT_CLONES void silu_run(float* x, const float* factor, std::int64_t count) {
  constexpr std::int64_t kLanes = 8;
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const auto bytes =
        static_cast<std::size_t>(count - i < kLanes ? count - i : kLanes) * sizeof(float);
    Floats8 value{}, other = Floats8{} + 1.0F;
    const auto run = [&](std::size_t size) __attribute__((always_inline)) {
      std::memcpy(&value, x + i, size);
      if (factor != nullptr) std::memcpy(&other, factor + i, size);
      value = value / (exp_of(min_of(-value, Floats8{} + kLargestExponent)) + 1.0F) * other;
      std::memcpy(x + i, &value, size);
    };
    bytes == sizeof(value) ? run(sizeof(value)) : run(bytes);
  }
}

void relu_run(float* x, const float* factor, std::int64_t count) {
  // A comparison that NaN fails the right way round: NaN stays NaN.
  for (std::int64_t i = 0; i < count; ++i) x[i] = x[i] < 0.0F ? 0.0F : x[i];
  if (factor == nullptr) return;
  for (std::int64_t i = 0; i < count; ++i) x[i] *= factor[i];
}

}  // namespace

void activate(Activation activation, std::span<float> x, std::span<const float> factor) {
  CHECK(factor.empty() || factor.size() == x.size());
  const auto run = activation == Activation::silu ? silu_run : relu_run;
  parallel_for(std::ssize(x), kValuesPerThread, [&](std::int64_t begin, std::int64_t end) {
    run(x.data() + begin, factor.empty() ? nullptr : factor.data() + begin, end - begin);
  });
}

}  // namespace lowbit
