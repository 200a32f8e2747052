// Sixteen lanes as arrays, for panel_kernels.h: processors without the vector instructions, and
// what the layout means, in plain C++.
#pragma once

#include <cstdint>

#include "base/half_float.h"

namespace lowbit {
namespace {

struct Portable {
  struct Ints {
    std::uint32_t lane[16];
  };
  struct Floats {
    float lane[16];
  };
  template <typename To, typename Lane>
  static To each(const Lane& lane) {
    To to;
    for (int i = 0; i < 16; ++i) to.lane[i] = lane(i);
    return to;
  }

  static Ints load(const void* p) {
    Ints x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  static void store(void* p, const Ints& x) { __builtin_memcpy(p, &x, sizeof(x)); }
  static Ints splat(std::int32_t x) {
    return each<Ints>([&](int) { return static_cast<std::uint32_t>(x); });
  }
  static Ints shift_right(const Ints& x, int n) {
    return each<Ints>([&](int i) { return x.lane[i] >> n; });
  }
  static Ints shift_left(const Ints& x, int n) {
    return each<Ints>([&](int i) { return x.lane[i] << n; });
  }
  static Ints both(const Ints& x, const Ints& y) {
    return each<Ints>([&](int i) { return x.lane[i] & y.lane[i]; });
  }
  static Ints either(const Ints& x, const Ints& y) {
    return each<Ints>([&](int i) { return x.lane[i] | y.lane[i]; });
  }
  static Ints add(const Ints& x, const Ints& y) {
    return each<Ints>([&](int i) { return x.lane[i] + y.lane[i]; });
  }
  static Ints subtract(const Ints& x, const Ints& y) {
    return each<Ints>([&](int i) { return x.lane[i] - y.lane[i]; });
  }
  static Ints subtract_bytes(const Ints& x, const Ints& y) {
    return each<Ints>([&](int i) {
      constexpr std::uint32_t kTop = 0x80808080;  // kept apart, so that no byte borrows
      const std::uint32_t difference = (x.lane[i] | kTop) - (y.lane[i] & ~kTop);
      return difference ^ ((x.lane[i] ^ ~y.lane[i]) & kTop);
    });
  }
  static Ints multiply(const Ints& x, const Ints& y) {
    return each<Ints>([&](int i) { return x.lane[i] * y.lane[i]; });
  }
  static constexpr std::int64_t kPrefetchBytes = 2048;
  static constexpr std::int64_t kBlockBytes = 1 << 18;
  static constexpr int kSums = 6;
  static constexpr int kTilePanels = 1;
  template <int kBits>
  static constexpr std::int64_t kDots = 1 << 30;
  template <int kBits>
  static Ints widen(const Ints& total, const Ints& sum) {
    return add(total, sum);
  }
  template <int kBits>
  static void dot_word(Ints (&sums)[1], const Ints (&codes)[1], const std::int8_t* x) {
    std::int32_t word;
    __builtin_memcpy(&word, x, 4);
    sums[0] = dot<kBits>(sums[0], codes[0], splat(word));
  }
  template <int kBits>
  static Ints dot(const Ints& sum, const Ints& codes, const Ints& x) {
    return each<Ints>([&](int i) {
      std::int32_t products = 0;
      for (int b = 0; b < 4; ++b) {
        const auto code = static_cast<std::int32_t>(codes.lane[i] >> (8 * b) & 0xFF);
        products += code * static_cast<std::int8_t>(x.lane[i] >> (8 * b) & 0xFF);
      }
      return sum.lane[i] + static_cast<std::uint32_t>(products);
    });
  }
  static Ints from_bytes(const std::uint8_t* p) {
    return each<Ints>([&](int i) { return std::uint32_t{p[i]}; });
  }

  static Floats load_floats(const float* p) {
    return each<Floats>([&](int i) { return p[i]; });
  }
  static void store_floats(float* p, const Floats& x) {
    for (int i = 0; i < 16; ++i) p[i] = x.lane[i];
  }
  static Floats splat_float(float x) {
    return each<Floats>([&](int) { return x; });
  }
  static Floats to_float(const Ints& x) {
    return each<Floats>(
        [&](int i) { return static_cast<float>(static_cast<std::int32_t>(x.lane[i])); });
  }
  static Floats add(const Floats& x, const Floats& y) {
    return each<Floats>([&](int i) { return x.lane[i] + y.lane[i]; });
  }
  static Floats subtract(const Floats& x, const Floats& y) {
    return each<Floats>([&](int i) { return x.lane[i] - y.lane[i]; });
  }
  static Floats multiply(const Floats& x, const Floats& y) {
    return each<Floats>([&](int i) { return x.lane[i] * y.lane[i]; });
  }
  static Floats multiply_add(const Floats& x, const Floats& y, const Floats& z) {
    return each<Floats>([&](int i) {
      return static_cast<float>(static_cast<double>(x.lane[i]) * y.lane[i] + z.lane[i]);
    });
  }
  static std::uint16_t half_at(const std::uint8_t* p, int i) {
    std::uint16_t bits;
    __builtin_memcpy(&bits, p + 2 * i, 2);
    return bits;
  }
  static Floats from_f16(const std::uint8_t* p) {
    return each<Floats>([&](int i) { return f16_to_float(half_at(p, i)); });
  }
  static Floats from_bf16(const std::uint8_t* p) {
    return each<Floats>([&](int i) { return bf16_to_float(half_at(p, i)); });
  }
  static void prefetch(const void*) {}
};

}  // namespace
}  // namespace lowbit
