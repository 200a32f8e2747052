#include "format/hadamard_matrix.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>

#include "base/check.h"

namespace lowbit {
namespace {

using Matrix = std::vector<std::int8_t>;  // [n, n]

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

bool is_power_of_two(std::int64_t n) {
  return n > 0 && std::has_single_bit(static_cast<std::uint64_t>(n));
}

struct PrimePower {
  std::int64_t prime = 0, exponent = 0;
};

std::optional<PrimePower> as_prime_power(std::int64_t q) {
  if (q < 2) return std::nullopt;
  std::int64_t prime = 2;
  while (prime * prime <= q && q % prime != 0) ++prime;
  if (q % prime != 0) return PrimePower{q, 1};
  PrimePower result{prime, 0};
  for (; q % prime == 0; q /= prime) ++result.exponent;
  return q == 1 ? std::optional(result) : std::nullopt;
}

// GF(q), q odd. An element is its coefficients as the digits of a number to the base p, the lowest
// first; the modulus is x^k plus the least number for which squares are those of a field.
class Field {
 public:
  explicit Field(std::int64_t q) : q_(q), power_(as_prime_power(q).value()) {
    for (tail_ = 0; tail_ < q; ++tail_) {
      is_square_.assign(index(q), false);
      for (std::int64_t a = 0; a < q; ++a) is_square_[index(product(a, a))] = true;
      // (q + 1) / 2 of them, 0 with them: a product of smaller rings or one with a² = 0 has fewer.
      if (std::count(is_square_.begin(), is_square_.end(), true) == (q + 1) / 2) return;
    }
    CHECK(false);  // there is an irreducible polynomial of every degree
  }

  // 1 for a square, -1 for others, 0 for 0: of a - b.
  std::int8_t character(std::int64_t a, std::int64_t b) const {
    const std::int64_t difference = minus(a, b);
    if (difference == 0) return 0;
    return is_square_[index(difference)] ? 1 : -1;
  }

 private:
  // a - factor * b, digit by digit.
  std::int64_t minus(std::int64_t a, std::int64_t b, std::int64_t factor = 1) const {
    const std::int64_t p = power_.prime;
    std::int64_t result = 0;
    for (std::int64_t place = 1; place < q_; place *= p, a /= p, b /= p) {
      result += place * ((a % p + (p - factor) * (b % p)) % p);
    }
    return result;
  }

  // a * b by the digits of a from the highest on (Horner's rule).
  std::int64_t product(std::int64_t a, std::int64_t b) const {
    const std::int64_t p = power_.prime;
    std::int64_t result = 0;
    for (std::int64_t place = q_ / p; place > 0; place /= p) {
      const std::int64_t top = result / (q_ / p);
      result = minus(result % (q_ / p) * p, tail_, top);   // times x
      result = minus(result, b, (p - a / place % p) % p);  // plus the digit times b
    }
    return result;
  }

  std::int64_t q_;
  PrimePower power_;
  std::int64_t tail_ = 0;  // of the modulus
  std::vector<bool> is_square_;
};

bool is_paley_one(std::int64_t order) {
  return order % 4 == 0 && as_prime_power(order - 1).has_value();
}

bool is_paley_two(std::int64_t order) {
  const std::int64_t q = order / 2 - 1;
  return order % 4 == 0 && q % 4 == 1 && as_prime_power(q).has_value();
}

// The bordered character table: 0 and a row of ones above `left` and χ(a_i - a_j).
Matrix bordered_characters(std::int64_t q, std::int8_t left) {
  const Field field(q);
  const std::int64_t n = q + 1;
  Matrix table(index(n * n), 1);
  table[0] = 0;
  for (std::int64_t i = 1; i < n; ++i) {
    table[index(i * n)] = left;
    for (std::int64_t j = 1; j < n; ++j) table[index(i * n + j)] = field.character(i - 1, j - 1);
  }
  return table;
}

Matrix paley_one(std::int64_t order) {  // I + S, S antisymmetric
  Matrix matrix = bordered_characters(order - 1, -1);
  for (std::int64_t i = 0; i < order; ++i) matrix[index(i * (order + 1))] = 1;
  return matrix;
}

Matrix paley_two(std::int64_t order) {  // S symmetric; an entry becomes a 2 x 2 block
  constexpr std::array<std::int8_t, 4> kZero = {1, -1, -1, -1}, kOne = {1, 1, 1, -1};
  const std::int64_t n = order / 2;
  const Matrix table = bordered_characters(n - 1, 1);
  Matrix matrix(index(order * order));
  for (std::int64_t i = 0; i < order; ++i) {
    for (std::int64_t j = 0; j < order; ++j) {
      const std::int8_t entry = table[index(i / 2 * n + j / 2)];
      const std::size_t at = index(i % 2 * 2 + j % 2);
      matrix[index(i * order + j)] =
          entry == 0 ? kZero[at] : static_cast<std::int8_t>(entry * kOne[at]);
    }
  }
  return matrix;
}

// First rows of the four symmetric circulants A, B, C, D (Williamson; Baumert, Golomb and Hall;
// known sequences, as listed in the literature).
using WilliamsonRows = std::array<std::string_view, 4>;
constexpr auto kWilliamson = std::to_array<WilliamsonRows>(
    {{"++--+--+-+++-++++-+++-+--+--+", "++++-++-+---++++++---+-++-+++",
      "+-+---++--+-++++++-+--++---+-", "+++---++--+-+----+-+--++---++"},
     {"+++--+-+-----+--++----++--+-----+-+--++", "++++---+--++----+-+--+-+----++--+---+++",
      "+++--++-+---+-+--+----+--+-+---+-++--++", "+---++-+-+-----+++-++-+++-----+-+-++---"},
     {"+---++--++++-+-+++-++--++-+++-+-++++--++---", "++-++++++----+-+--++-++-++--+-+----++++++-+",
      "+++-+-++--+-+-++++-+----+-++++-+-+--++-+-++",
      "++---++++-+--+--++--------++--+--+-++++---+"}});

const WilliamsonRows* williamson_rows(std::int64_t order) {
  const auto found =
      std::find_if(kWilliamson.begin(), kWilliamson.end(),
                   [&](const WilliamsonRows& rows) { return 4 * std::ssize(rows[0]) == order; });
  return found == kWilliamson.end() ? nullptr : &*found;
}

Matrix williamson(const WilliamsonRows& rows) {
  struct Block {
    std::size_t row;
    std::int8_t sign;
  };
  constexpr std::array<std::array<Block, 4>, 4> kBlocks = {{{{{0, 1}, {1, 1}, {2, 1}, {3, 1}}},
                                                            {{{1, -1}, {0, 1}, {3, -1}, {2, 1}}},
                                                            {{{2, -1}, {3, 1}, {0, 1}, {1, -1}}},
                                                            {{{3, -1}, {2, -1}, {1, 1}, {0, 1}}}}};
  const std::size_t t = rows[0].size();
  const std::size_t order = 4 * t;
  Matrix matrix(order * order);
  for (std::size_t i = 0; i < order; ++i) {
    for (std::size_t j = 0; j < order; ++j) {
      const Block& block = kBlocks[i / t][j / t];
      const bool plus = rows[block.row][(j % t + t - i % t) % t] == '+';
      matrix[i * order + j] = static_cast<std::int8_t>(plus ? block.sign : -block.sign);
    }
  }
  return matrix;
}

bool has_construction(std::int64_t factor) {
  return is_paley_one(factor) || is_paley_two(factor) || williamson_rows(factor) != nullptr;
}

}  // namespace

std::int64_t hadamard_factor(std::int64_t n) {
  if (n <= 0) return 0;
  if (is_power_of_two(n)) return 1;
  const std::int64_t odd = n >> std::countr_zero(static_cast<std::uint64_t>(n));
  for (std::int64_t factor = 4 * odd; factor <= kLargestHadamardFactor && n % factor == 0;
       factor *= 2) {
    if (has_construction(factor)) return factor;
  }
  return 0;
}

std::int64_t hadamard_size(std::int64_t width) {
  CHECK(width > 0);
  std::int64_t largest = 1;
  for (std::int64_t divisor = 1; divisor * divisor <= width; ++divisor) {
    if (width % divisor != 0) continue;
    for (const std::int64_t n : {divisor, width / divisor}) {
      if (n > largest && hadamard_factor(n) != 0) largest = n;
    }
  }
  return largest;
}

std::vector<std::int8_t> hadamard_factor_matrix(std::int64_t factor) {
  if (factor == 1) return {1};
  if (is_paley_one(factor)) return paley_one(factor);
  if (is_paley_two(factor)) return paley_two(factor);
  const WilliamsonRows* rows = williamson_rows(factor);
  CHECK(rows != nullptr);
  return williamson(*rows);
}

}  // namespace lowbit
