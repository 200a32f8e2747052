#include "methods/adam.h"

#include <cmath>

namespace lowbit {

void adam(const Tensor& parameter, const Tensor& gradient, Moments& moments, AdamStep step,
          const Tensor& unit) {
  constexpr double kFirst = 0.9, kSecond = 0.999, kEpsilon = 1e-8;
  if (!moments.first.defined()) {
    moments.first = at::zeros_like(parameter);
    moments.second = at::zeros_like(parameter);
  }
  moments.first.mul_(kFirst).add_(gradient, 1.0 - kFirst);
  moments.second.mul_(kSecond).addcmul_(gradient, gradient, 1.0 - kSecond);
  const double n = static_cast<double>(step.number);
  const double rate = step.rate / (1.0 - std::pow(kFirst, n));
  const Tensor deviation = (moments.second / (1.0 - std::pow(kSecond, n))).sqrt_().add_(kEpsilon);
  Tensor move = moments.first / deviation;
  if (unit.defined()) move.mul_(unit);
  parameter.sub_(move, rate);
}

}  // namespace lowbit
