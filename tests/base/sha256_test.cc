#include "base/sha256.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lowbit {
namespace {

// The examples of FIPS 180-4.
TEST(Sha256, GivesThePublishedSums) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, PiecesSumLikeTheWhole) {
  const std::string text(1000, 'x');
  Sha256 sum;
  for (std::size_t at = 0; at < text.size(); at += 7) {
    sum.update(
        std::as_bytes(std::span(text).subspan(at, std::min<std::size_t>(7, text.size() - at))));
  }
  EXPECT_EQ(sum.hex(), sha256_hex(text));
}

}  // namespace
}  // namespace lowbit
