// The Kullback-Leibler divergence from a source's predictions to a student's, over the whole
// vocabulary or over the source's likeliest tokens (KL-Top, ostquant sheet, step 5; Hu et al.,
// arXiv 2501.13987), with its gradient in closed form.
#pragma once

#include "calib/tensor.h"

namespace lowbit {

struct KlLoss {
  double sum = 0;   // nats, over all tokens
  Tensor gradient;  // of the sum by the student's logits, [tokens, vocabulary]
};

// Logits [tokens, vocabulary], float32. With `top` above 0 both distributions are those of the
// source's `top` likeliest tokens of each position alone, renormalised; 0: of all.
KlLoss kl_loss(const Tensor& student, const Tensor& source, std::int64_t top);

}  // namespace lowbit
