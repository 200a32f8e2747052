#include "runtime/input_ranges.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/progress.h"
#include "runtime/block.h"
#include "runtime/embedding.h"

namespace lowbit {
namespace {

void raise(std::vector<float>& channel_max, std::span<const float> x) {
  const std::size_t width = channel_max.size();
  for (std::size_t row = 0; row < x.size(); row += width) {
    for (std::size_t channel = 0; channel < width; ++channel) {
      channel_max[channel] = std::max(channel_max[channel], std::fabs(x[row + channel]));
    }
  }
}

// The four inputs of a block, with the linears that see them.
std::array<InputRange, 4> empty_ranges(const BlockSpec& block) {
  const auto width = [](const LinearSpec& linear) {
    return std::vector<float>(static_cast<std::size_t>(linear.in));
  };
  std::array<InputRange, 4> ranges = {
      InputRange{{block.q.name, block.k.name, block.v.name}, width(block.q)},
      InputRange{{block.o.name}, width(block.o)}, InputRange{{block.up.name}, width(block.up)},
      InputRange{{block.down.name}, width(block.down)}};
  if (block.gate) ranges[2].linears.insert(ranges[2].linears.begin(), block.gate->name);
  return ranges;
}

}  // namespace

Result<std::vector<InputRange>> input_ranges(const ReferenceModel& model,
                                             std::span<const std::vector<TokenId>> windows,
                                             const ReferenceModel::Progress& on_window) {
  const ModelSpec& spec = model.spec();
  std::vector<std::vector<float>> states;
  std::size_t longest = 0;
  for (const std::vector<TokenId>& window : windows) {
    auto embedded = model.embedding().rows(window, 0);
    if (!embedded) return std::move(embedded).error();
    states.push_back(std::move(*embedded));
    longest = std::max(longest, window.size());
  }
  std::optional<RotaryTable> rotary;
  if (spec.rope) rotary.emplace(*spec.rope, spec.head_dim, static_cast<std::int64_t>(longest));

  KvPool pool(KvShape::of(spec, KvType::f32, 1), static_cast<std::int64_t>(longest));
  BlockRows rows;
  std::vector<InputRange> all;
  std::int64_t windows_done = 0;
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const auto block = load_block(model.checkpoint(), spec, model.quantization(), index);
    if (!block) return block.error();
    std::array<InputRange, 4> ranges = empty_ranges(spec.block(index));
    const std::array<const LoadedLinear*, 4> linears = {&block->q, &block->o, &block->up,
                                                        &block->down};
    const InputObserver observe = [&](const LoadedLinear& linear, std::span<const float> x) {
      const auto seen = std::find(linears.begin(), linears.end(), &linear);
      raise(ranges[static_cast<std::size_t>(seen - linears.begin())].channel_max, x);
    };
    for (std::vector<float>& hidden : states) {
      if (interrupted()) return Error{ErrorKind::interrupted, "runtime/interrupted", "interrupted"};
      Status done =
          forward_window(spec, *block, rotary ? &*rotary : nullptr, pool, rows, hidden, observe);
      if (!done) return std::move(done).error();
      if (on_window) on_window(++windows_done, spec.blocks * std::ssize(states));
    }
    std::move(ranges.begin(), ranges.end(), std::back_inserter(all));
  }
  return all;
}

}  // namespace lowbit
