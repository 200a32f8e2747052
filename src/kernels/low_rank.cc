#include "kernels/low_rank.h"

#include <algorithm>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/panel_product.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWorthAPiece = 1 << 15;  // multiplications below which no thread is woken
constexpr std::int64_t kPanel = 16;             // what panel_product's columns are a multiple of

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

std::int64_t padded(std::int64_t columns) { return (columns + kPanel - 1) / kPanel * kPanel; }

// Calls body(begin, end) on the pieces of [0, count), each worth a thread.
void in_pieces(std::int64_t count, std::int64_t work,
               const std::function<void(std::int64_t begin, std::int64_t end)>& body) {
  const std::int64_t grain =
      std::max<std::int64_t>(1, kWorthAPiece / std::max<std::int64_t>(work, 1));
  if (count <= grain) return body(0, count);
  parallel_for(count, grain, body);
}

}  // namespace

LowRankProduct::LowRankProduct(const LowRankPair& pair, std::int64_t rank)
    : rank_(rank),
      padded_rank_(padded(rank)),
      in_(std::ssize(pair.right) / rank),
      out_(std::ssize(pair.left) / rank),
      padded_out_(padded(out_)),
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
  in_pieces(tokens, in_ * padded_rank_, [&](std::int64_t begin, std::int64_t end) {
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
  const std::int64_t whole = out_ / kPanel;
  in_pieces(whole, tokens * rank_ * kPanel, [&](std::int64_t begin, std::int64_t end) {
    PanelProduct piece = outer;
    piece.columns = (end - begin) * kPanel;
    piece.b = left_.data() + begin * kPanel;
    piece.c = y.data() + begin * kPanel;
    panel_product(piece);
  });
  if (whole * kPanel == out_) return;
  std::vector<float> last(index(tokens * kPanel));  // the columns that fill no panel
  outer.columns = outer.c_row = kPanel;
  outer.b = left_.data() + whole * kPanel;
  outer.c = last.data();
  panel_product(outer);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t o = whole * kPanel; o < out_; ++o) {
      y[index(token * out_ + o)] += last[index(token * kPanel + o % kPanel)];
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
