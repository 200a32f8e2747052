#include "format/scheme.h"

#include <fmt/format.h>

#include <algorithm>

#include "format/value_grid.h"

namespace lowbit {
namespace {

std::string_view symmetry(bool symmetric) { return symmetric ? "sym" : "asym"; }

}  // namespace

bool is_clip(double value) { return value <= 1 && static_cast<float>(value) > 0; }

std::string describe(const WeightScheme& scheme) {
  if (!scheme.quantized()) return "W16";
  if (const ValueFormat* values = value_format(scheme.format)) return std::string(values->name);
  if (scheme.group_size == 0)
    return fmt::format("W{} row {}", scheme.bits, symmetry(scheme.symmetric));
  return fmt::format("W{} g{} {}", scheme.bits, scheme.group_size, symmetry(scheme.symmetric));
}

std::string describe(const ActivationScheme& scheme) {
  if (!scheme.quantized()) return "A16";
  if (const ValueFormat* values = value_format(scheme.format)) {
    return fmt::format("A {}", values->name);
  }
  std::string per = "token";
  if (scheme.per == ActivationGranularity::token_group) per = fmt::format("g{}", scheme.group_size);
  if (scheme.is_static()) per = "static";
  const std::string clip = scheme.clip == 1 ? "" : fmt::format(" clip {}", scheme.clip);
  return fmt::format("A{} {} {}{}", scheme.bits, per, symmetry(scheme.symmetric), clip);
}

bool LowRank::operator==(const LowRank& other) const {
  return rank == other.rank && (pair == other.pair || (pair && other.pair && *pair == *other.pair));
}

bool InputTransform::operator==(const InputTransform& other) const {
  if (hadamard != other.hadamard || kronecker != other.kronecker ||
      stored_with != other.stored_with) {
    return false;
  }
  return factors == other.factors || (factors && other.factors && *factors == *other.factors);
}

std::string describe(const InputTransform& transform) {
  if (transform.kronecker.any()) {
    return fmt::format("K{}x{}", transform.kronecker.left, transform.kronecker.right);
  }
  return transform.any() ? fmt::format("H{}", transform.hadamard) : std::string();
}

std::int64_t fitting_group_size(std::int64_t in, std::int64_t wanted) {
  if (wanted <= 0 || in <= 0) return 0;
  if (wanted >= in) return in;
  if (in % wanted == 0) return wanted;
  for (std::int64_t size = wanted / 8 * 8; size >= 8; size -= 8) {
    if (in % size == 0) return size;
  }
  return 0;  // no multiple of 8 divides the row: one group
}

}  // namespace lowbit
