#include "base/half_float.h"

#include <cstring>

#include "base/check.h"

namespace lowbit {

static_assert(std::endian::native == std::endian::little, "stored values are little endian");

std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {  // NaN: rounding could carry it into infinity
    const auto kept = static_cast<std::uint16_t>(bits >> 16);
    return static_cast<std::uint16_t>((kept & 0x7fu) != 0 ? kept : kept | 0x40u);
  }
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

std::uint16_t float_to_f16(float value) {
  constexpr std::uint32_t kFirstInfinite = 0x477ff000u;  // 65520: halfway past the largest half
  constexpr std::uint32_t kFirstNormal = 0x38800000u;    // 2^-14
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    const std::uint32_t payload = (magnitude >> 13) & 0x3ffu;
    return static_cast<std::uint16_t>(sign | 0x7c00u | (payload != 0 ? payload : 0x200u));
  }
  if (magnitude >= kFirstInfinite) return static_cast<std::uint16_t>(sign | 0x7c00u);
  if (magnitude < kFirstNormal) {
    // The spacing of floats at 0.5 is that of half subnormals, so this addition does the rounding.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(
        sign | (std::bit_cast<std::uint32_t>(rounded) - std::bit_cast<std::uint32_t>(0.5f)));
  }
  const std::uint32_t rebiased = magnitude - (112u << 23);
  return static_cast<std::uint16_t>(sign | ((rebiased + 0xfffu + ((rebiased >> 13) & 1u)) >> 13));
}

namespace {

// The test for non-finite values is an OR over the run, so that the loop has no early exit and
// becomes vector code.
template <typename Stored, typename Convert>
bool read_run(std::span<const std::byte> stored, std::span<float> values, Stored exponent_mask,
              Convert convert) {
  CHECK(stored.size() == values.size() * sizeof(Stored));
  const std::byte* source = stored.data();
  float* target = values.data();
  const std::size_t count = values.size();
  Stored non_finite = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Stored bits;
    std::memcpy(&bits, source + i * sizeof(Stored), sizeof(Stored));
    non_finite |= static_cast<Stored>((bits & exponent_mask) == exponent_mask ? 1 : 0);
    target[i] = convert(bits);
  }
  return non_finite == 0;
}

}  // namespace

bool read_bf16(std::span<const std::byte> stored, std::span<float> values) {
  return read_run<std::uint16_t>(stored, values, 0x7f80u, bf16_to_float);
}

bool read_f16(std::span<const std::byte> stored, std::span<float> values) {
  return read_run<std::uint16_t>(stored, values, 0x7c00u, f16_to_float);
}

bool read_f32(std::span<const std::byte> stored, std::span<float> values) {
  return read_run<std::uint32_t>(stored, values, 0x7f800000u,
                                 [](std::uint32_t bits) { return std::bit_cast<float>(bits); });
}

}  // namespace lowbit
