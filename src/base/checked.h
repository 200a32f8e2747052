// Arithmetic on numbers that came from outside: every size, count or offset read from a file
// passes here before it is used. Nothing when the result does not fit.
#pragma once

#include <concepts>
#include <optional>

namespace lowbit {

template <std::integral T>
std::optional<T> checked_add(T left, T right) {
  T sum{};
  if (__builtin_add_overflow(left, right, &sum)) return std::nullopt;
  return sum;
}

template <std::integral T>
std::optional<T> checked_mul(T left, T right) {
  T product{};
  if (__builtin_mul_overflow(left, right, &product)) return std::nullopt;
  return product;
}

}  // namespace lowbit
