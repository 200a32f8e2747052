#include "text/merge_table.h"

#include <algorithm>
#include <tuple>

namespace lowbit {
namespace {

bool same_pair(const Merge& a, const Merge& b) { return a.left == b.left && a.right == b.right; }

}  // namespace

MergeTable::MergeTable(std::vector<Merge> merges, TokenId end_id) : merges_(std::move(merges)) {
  std::ranges::sort(merges_, [](const Merge& a, const Merge& b) {
    return std::tuple(a.left, a.right, b.rank) < std::tuple(b.left, b.right, a.rank);
  });
  merges_.erase(std::unique(merges_.begin(), merges_.end(), same_pair), merges_.end());
  begin_.assign(static_cast<std::size_t>(end_id) + 1, 0);
  for (const Merge& merge : merges_) ++begin_[static_cast<std::size_t>(merge.left) + 1];
  for (std::size_t id = 1; id < begin_.size(); ++id) begin_[id] += begin_[id - 1];
}

const Merge* MergeTable::find(TokenId left, TokenId right) const {
  const auto row = static_cast<std::size_t>(left);
  const Merge* end = merges_.data() + begin_[row + 1];
  const Merge* found = std::lower_bound(merges_.data() + begin_[row], end, right,
                                        [](const Merge& m, TokenId id) { return m.right < id; });
  return found != end && found->right == right ? found : nullptr;
}

}  // namespace lowbit
