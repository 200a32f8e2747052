// Codes as bit streams: the dense one, in which a code may lie across two words, and the older one
// of compressed-tensors 0.17 and EfficientQAT, in which none does. Element i of a row occupies bits
// [i * bits, i * bits + bits) of the dense stream; bit t of the stream is bit t % 32 of word t
// / 32.

#include "base/check.h"
#include "base/threads.h"
#include "format/group_affine.h"

namespace lowbit {
namespace {

// Rows handed to a thread at once hold about this many codes: below it threads cost more than they
// bring.
constexpr std::int64_t kCodesPerPiece = 1 << 16;

std::int64_t row_grain(std::int64_t columns) {
  return columns >= kCodesPerPiece ? 1 : kCodesPerPiece / (columns > 0 ? columns : 1);
}

std::uint8_t code_mask(int bits) { return static_cast<std::uint8_t>((1U << bits) - 1U); }

void pack_row(const std::uint8_t* codes, std::int64_t columns, int bits, std::int32_t* words) {
  const std::uint8_t mask = code_mask(bits);
  std::uint64_t held = 0;  // bits of the stream that are not yet written, lowest first
  int held_bits = 0;
  for (std::int64_t i = 0; i < columns; ++i) {
    held |= static_cast<std::uint64_t>(codes[i] & mask) << held_bits;
    held_bits += bits;
    if (held_bits >= 32) {
      *words++ = static_cast<std::int32_t>(static_cast<std::uint32_t>(held));
      held >>= 32;
      held_bits -= 32;
    }
  }
  if (held_bits > 0) *words = static_cast<std::int32_t>(static_cast<std::uint32_t>(held));
}

void unpack_row(const std::int32_t* words, std::int64_t columns, int bits, std::uint8_t* codes) {
  const std::uint8_t mask = code_mask(bits);
  std::uint64_t held = 0;
  int held_bits = 0;
  for (std::int64_t i = 0; i < columns; ++i) {
    if (held_bits < bits) {
      held |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(*words++)) << held_bits;
      held_bits += 32;
    }
    codes[i] = static_cast<std::uint8_t>(held & mask);
    held >>= bits;
    held_bits -= bits;
  }
}

}  // namespace

std::int64_t words_per_row(std::int64_t columns, int bits) {
  return columns / 32 * bits + (columns % 32 * bits + 31) / 32;  // columns * bits might overflow
}

std::int64_t words_per_row_whole_codes(std::int64_t columns, int bits) {
  const std::int64_t per_word = 32 / bits;
  return columns / per_word + (columns % per_word != 0 ? 1 : 0);
}

std::vector<std::int32_t> pack_rows(std::span<const std::uint8_t> codes, std::int64_t rows,
                                    std::int64_t columns, int bits) {
  CHECK(bits >= 1 && bits <= 8);
  CHECK(static_cast<std::int64_t>(codes.size()) == rows * columns);
  const std::int64_t row_words = words_per_row(columns, bits);
  std::vector<std::int32_t> words(static_cast<std::size_t>(rows * row_words));
  parallel_for(rows, row_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      pack_row(codes.data() + row * columns, columns, bits, words.data() + row * row_words);
    }
  });
  return words;
}

std::vector<std::uint8_t> unpack_rows(std::span<const std::int32_t> words, std::int64_t rows,
                                      std::int64_t columns, int bits) {
  CHECK(bits >= 1 && bits <= 8);
  const std::int64_t row_words = words_per_row(columns, bits);
  CHECK(static_cast<std::int64_t>(words.size()) == rows * row_words);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * columns));
  parallel_for(rows, row_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      unpack_row(words.data() + row * row_words, columns, bits, codes.data() + row * columns);
    }
  });
  return codes;
}

std::vector<std::uint8_t> unpack_rows_whole_codes(std::span<const std::int32_t> words,
                                                  std::int64_t rows, std::int64_t columns,
                                                  int bits) {
  CHECK(bits >= 1 && bits <= 8);
  const std::int64_t row_words = words_per_row_whole_codes(columns, bits);
  CHECK(static_cast<std::int64_t>(words.size()) == rows * row_words);
  const std::uint8_t mask = code_mask(bits);
  const std::int64_t per_word = 32 / bits;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * columns));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < columns; ++i) {
      const auto word = static_cast<std::uint32_t>(
          words[static_cast<std::size_t>(row * row_words + i / per_word)]);
      codes[static_cast<std::size_t>(row * columns + i)] =
          static_cast<std::uint8_t>((word >> (i % per_word * bits)) & mask);
    }
  }
  return codes;
}

}  // namespace lowbit
