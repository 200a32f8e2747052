#include "methods/kl_loss.h"

namespace lowbit {

KlLoss kl_loss(const Tensor& student, const Tensor& source, std::int64_t top) {
  const at::NoGradGuard no_gradient;
  const bool all = top <= 0 || top >= source.size(1);
  const Tensor which = all ? Tensor() : std::get<1>(source.topk(top, 1));
  const Tensor p = (all ? source : source.gather(1, which)).log_softmax(1);
  const Tensor q = (all ? student : student.gather(1, which)).log_softmax(1);
  const Tensor likely = p.exp();
  const Tensor gradient = q.exp() - likely;
  return {.sum = (likely * (p - q)).sum(at::kDouble).item<double>(),
          .gradient = all ? gradient : at::zeros_like(student).scatter_(1, which, gradient)};
}

}  // namespace lowbit
