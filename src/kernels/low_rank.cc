#include "kernels/low_rank.h"

#include <algorithm>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/panel_product.h"

namespace lowbit {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

}  // namespace

LowRankProduct::LowRankProduct(const LowRankPair& pair, std::int64_t rank)
    : rank_(rank),
      padded_rank_(panel_columns(rank)),
      in_(std::ssize(pair.right) / rank),
      out_(std::ssize(pair.left) / rank),
      padded_out_(panel_columns(out_)),
      right_(index(in_ * padded_rank_)),
      left_(index(rank * padded_out_)) {
  for (std::int64_t r = 0; r < rank; ++r) {
    for (std::int64_t i = 0; i < in_; ++i) {
      right_[index(i * padded_rank_ + r)] = pair.right[index(r * in_ + i)];
    }
    for (std::int64_t o = 0; o < out_; ++o) {
      left_[index(r * padded_out_ + o)] = pair.left[index(o * rank + r)];
    }
  }
}

void LowRankProduct::add(std::span<const float> x, std::span<float> y) const {
  const std::int64_t tokens = std::ssize(x) / in_;
  CHECK(std::ssize(x) == tokens * in_ && std::ssize(y) == tokens * out_);
  std::vector<float> inner(index(tokens * padded_rank_));  // x Rᵀ
  parallel_for(tokens, grain_of(in_ * padded_rank_), [&](std::int64_t begin, std::int64_t end) {
    panel_product({.rows = end - begin,
                   .inner = in_,
                   .columns = padded_rank_,
                   .a = x.data() + begin * in_,
                   .a_row = in_,
                   .b = right_.data(),
                   .b_row = padded_rank_,
                   .c = inner.data() + begin * padded_rank_,
                   .c_row = padded_rank_});
  });
  PanelProduct outer{.rows = tokens,
                     .inner = rank_,
                     .a = inner.data(),
                     .a_row = padded_rank_,
                     .b_row = padded_out_,
                     .c_row = out_,
                     .add = true};
  const std::int64_t whole = out_ / kPanelColumns;
  parallel_for(whole, grain_of(tokens * rank_ * kPanelColumns),
               [&](std::int64_t begin, std::int64_t end) {
                 PanelProduct piece = outer;
                 piece.columns = (end - begin) * kPanelColumns;
                 piece.b = left_.data() + begin * kPanelColumns;
                 piece.c = y.data() + begin * kPanelColumns;
                 panel_product(piece);
               });
  if (whole * kPanelColumns == out_) return;
  std::vector<float> last(index(tokens * kPanelColumns));  // the columns that fill no panel
  outer.columns = outer.c_row = kPanelColumns;
  outer.b = left_.data() + whole * kPanelColumns;
  outer.c = last.data();
  panel_product(outer);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t o = whole * kPanelColumns; o < out_; ++o) {
      y[index(token * out_ + o)] += last[index(token * kPanelColumns + o % kPanelColumns)];
    }
  }
}

void add_low_rank_reference(std::span<const float> x, const LowRankPair& pair, std::int64_t rank,
                            std::span<float> y) {
  const std::int64_t in = std::ssize(pair.right) / rank, out = std::ssize(pair.left) / rank;
  for (std::int64_t at = 0; at < std::ssize(y); ++at) {
    double sum = 0;
    for (std::int64_t r = 0; r < rank; ++r) {
      double inner = 0;
      for (std::int64_t i = 0; i < in; ++i) {
        inner += double{x[index(at / out * in + i)]} * pair.right[index(r * in + i)];
      }
      sum += inner * pair.left[index(at % out * rank + r)];
    }
    y[index(at)] += static_cast<float>(sum);
  }
}

}  // namespace lowbit
