#include "runtime/norm.h"

#include <cmath>

#include "base/threads.h"
#include "kernels/vector_math.h"

namespace lowbit {
namespace {

constexpr std::int64_t kRowsPerThread = 16;

LOWBIT_CLONES void rms_rows(const LoadedNorm& norm, const float* x, std::int64_t rows, float* out) {
  const auto width = static_cast<std::int64_t>(norm.weight.size());
  const float* const weight = norm.weight.data();
  for (std::int64_t row = 0; row < rows; ++row, x += width, out += width) {
    Floats16 squares{};
    std::int64_t i = 0;
    for (; i + 16 <= width; i += 16) {
      const Floats16 v = load16(x + i);
      squares += v * v;
    }
    if (i < width) {
      const Floats16 v = load16_partial(x + i, width - i);
      squares += v * v;
    }
    const float mean = reduce_sum(squares) / static_cast<float>(width);
    const float scale = 1.0F / std::sqrt(mean + norm.epsilon);
    for (i = 0; i < width; ++i) out[i] = weight[i] * (x[i] * scale);
  }
}

// Two passes in double: LayerNorm's models have outlier channels that dwarf the mean.
void layer_rows(const LoadedNorm& norm, const float* x, std::int64_t rows, float* out) {
  const std::size_t width = norm.weight.size();
  for (std::int64_t row = 0; row < rows; ++row, x += width, out += width) {
    double sum = 0.0;
    for (std::size_t i = 0; i < width; ++i) sum += x[i];
    const double mean = sum / static_cast<double>(width);
    double squares = 0.0;
    for (std::size_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double variance = squares / static_cast<double>(width);
    const auto scale = static_cast<float>(1.0 / std::sqrt(variance + norm.epsilon));
    const auto center = static_cast<float>(mean);
    for (std::size_t i = 0; i < width; ++i) {
      out[i] = (x[i] - center) * scale * norm.weight[i] + norm.bias[i];
    }
  }
}

}  // namespace

Result<LoadedNorm> load_norm(const Checkpoint& checkpoint, const ModelSpec& model,
                             const NormSpec& norm, NormKind kind) {
  LoadedNorm loaded;
  loaded.kind = kind;
  loaded.epsilon = static_cast<float>(model.norm_epsilon);
  auto weight = checkpoint.floats(norm.name + ".weight", {norm.width});
  if (!weight) return std::move(weight).error();
  loaded.weight = std::move(*weight);
  if (kind == NormKind::rms) return loaded;
  auto bias = checkpoint.floats(norm.name + ".bias", {norm.width});
  if (!bias) return std::move(bias).error();
  loaded.bias = std::move(*bias);
  return loaded;
}

void apply(const LoadedNorm& norm, std::span<const float> x, std::span<float> out) {
  const auto width = std::ssize(norm.weight);
  CHECK(x.size() == out.size() && std::ssize(x) % width == 0);
  const auto rows = norm.kind == NormKind::rms ? rms_rows : layer_rows;
  parallel_for(std::ssize(x) / width, kRowsPerThread, [&](std::int64_t begin, std::int64_t end) {
    rows(norm, x.data() + begin * width, end - begin, out.data() + begin * width);
  });
}

}  // namespace lowbit
