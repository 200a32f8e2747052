#include "runtime/rotary.h"

#include <cmath>

#include "base/check.h"
#include "base/threads.h"

namespace lowbit {

RotaryTable::RotaryTable(const RopeSpec& rope, std::int64_t head_dim, std::int64_t positions)
    : half_(head_dim / 2), positions_(positions) {
  const std::vector<float> frequencies = rope.inverse_frequencies(head_dim);
  const auto size = static_cast<std::size_t>(positions * half_);
  cosines_.resize(size);
  sines_.resize(size);
  // In double: the angle of a late position needs more than float32's digits.
  parallel_for(positions, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin * half_; at < end * half_; ++at) {
      const std::int64_t position = at / half_;
      const double angle = static_cast<double>(position) *
                           static_cast<double>(frequencies[static_cast<std::size_t>(at % half_)]);
      cosines_[static_cast<std::size_t>(at)] = static_cast<float>(std::cos(angle));
      sines_[static_cast<std::size_t>(at)] = static_cast<float>(std::sin(angle));
    }
  });
}

void RotaryTable::turn(std::span<float> x, std::int64_t row_width, std::int64_t first) const {
  const std::int64_t rows = std::ssize(x) / row_width;
  CHECK(first >= 0 && first + rows <= positions_ && row_width % (2 * half_) == 0);
  parallel_for(rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* const cosine = cosines_.data() + (first + row) * half_;
      const float* const sine = sines_.data() + (first + row) * half_;
      float* const end_of_row = x.data() + (row + 1) * row_width;
      for (float* head = x.data() + row * row_width; head < end_of_row; head += 2 * half_) {
        for (std::int64_t i = 0; i < half_; ++i) {
          const float low = head[i];
          const float high = head[i + half_];
          head[i] = low * cosine[i] - high * sine[i];
          head[i + half_] = high * cosine[i] + low * sine[i];
        }
      }
    }
  });
}

}  // namespace lowbit
