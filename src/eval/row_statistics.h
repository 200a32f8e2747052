// Sums over one row of logits, the inner loops of evaluation. Exponentials in float32 within 2e-7
// relative, sums in double.
#pragma once

#include <cstdint>
#include <span>

namespace lowbit {

// log sum exp of the row; not finite when a logit is not.
double log_sum_exp(std::span<const float> logits);

// sum_v p_v (log p_v - log q_v), p of `reference`, q of `logits`, both given with their
// log_sum_exp. Exactly 0 for equal rows.
double kl_divergence(std::span<const float> reference, double reference_log_sum,
                     std::span<const float> logits, double log_sum);

std::int64_t largest_index(std::span<const float> logits);  // the first, of several

}  // namespace lowbit
