#include "runtime/reference_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/progress.h"
#include "runtime/blas.h"
#include "runtime/block.h"
#include "runtime/embedding.h"

namespace lowbit {

struct ReferenceModel::Impl {
  Checkpoint checkpoint;
  ModelSpec spec;
  QuantizationMap quantization;
};

namespace {

constexpr std::int64_t kHeadRowsAtOnce = 16384;  // of the head, decoded to float32

using States = std::vector<std::vector<float>>;

// The names that a quantization config may speak of.
std::vector<std::string> linear_names(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const BlockSpec block = spec.block(index);
    for (const LinearSpec* linear : block.linears()) names.push_back(linear->name);
  }
  if (!spec.tied_head) names.push_back(spec.head_name);
  return names;
}

Status check_table(const Checkpoint& checkpoint, const ModelSpec& spec, const std::string& module) {
  const auto table = checkpoint.tensor(module + ".weight");
  if (!table) return table.error();
  const std::vector<std::int64_t> expected = {spec.vocabulary, spec.hidden};
  if (table->info->shape == expected) return {};
  return bad_input("checkpoint/wrong-shape",
                   fmt::format("{}: tensor '{}' has shape [{}], config.json asks for [{}]; check "
                               "that they belong together",
                               checkpoint.folder().string(), table->info->name,
                               fmt::join(table->info->shape, ", "), fmt::join(expected, ", ")));
}

Status check_ends(const Checkpoint& checkpoint, const ModelSpec& spec,
                  const QuantizationMap& quantization) {
  if (quantization.find(spec.head_name) != nullptr) {
    return bad_input("runtime/quantized-head",
                     fmt::format("{}: the head '{}' is quantized, which is not supported yet; "
                                 "leave it out (ignore = [\"lm_head\"])",
                                 checkpoint.folder().string(), spec.head_name));
  }
  if (Status status = check_table(checkpoint, spec, spec.embedding_name); !status) return status;
  return check_table(checkpoint, spec, spec.head_name);
}

Status check_finite(const Checkpoint& checkpoint, std::span<const float> hidden, std::int64_t block,
                    std::size_t window) {
  if (std::all_of(hidden.begin(), hidden.end(), [](float x) { return std::isfinite(x); })) {
    return {};
  }
  return bad_input("runtime/non-finite",
                   fmt::format("{}: block {}, window {}: the hidden states are no longer finite; "
                               "the checkpoint's weights or scales are damaged",
                               checkpoint.folder().string(), block, window));
}

Error interrupted_error(const Checkpoint& checkpoint) {
  return Error{ErrorKind::interrupted, "runtime/interrupted",
               fmt::format("{}: interrupted", checkpoint.folder().string())};
}

}  // namespace

ReferenceModel::ReferenceModel(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ReferenceModel::~ReferenceModel() = default;
ReferenceModel::ReferenceModel(ReferenceModel&&) noexcept = default;

const Checkpoint& ReferenceModel::checkpoint() const { return impl_->checkpoint; }
const ModelSpec& ReferenceModel::spec() const { return impl_->spec; }
const QuantizationMap& ReferenceModel::quantization() const { return impl_->quantization; }

Result<ReferenceModel> ReferenceModel::open(FileSystem& files, const Path& folder) {
  auto checkpoint = Checkpoint::open(files, folder);
  if (!checkpoint) return std::move(checkpoint).error();
  auto spec = read_model_spec(checkpoint->config());
  if (!spec) return within(folder.string(), std::move(spec).error());
  auto quantization = QuantizationMap::read(checkpoint->config(), linear_names(*spec));
  if (!quantization) return within(folder.string(), std::move(quantization).error());
  if (Status status = check_ends(*checkpoint, *spec, *quantization); !status) {
    return std::move(status).error();
  }
  return ReferenceModel(std::make_unique<Impl>(
      Impl{std::move(*checkpoint), std::move(*spec), std::move(*quantization)}));
}

Result<States> ReferenceModel::final_states(std::span<const std::vector<TokenId>> windows,
                                            const Progress& on_block, KvType kv) const {
  const auto& [checkpoint, spec, quantization] = *impl_;
  States states;
  std::size_t longest = 0;
  for (const std::vector<TokenId>& window : windows) {
    auto embedded = embed(checkpoint, spec, window, 0);
    if (!embedded) return std::move(embedded).error();
    states.push_back(std::move(*embedded));
    longest = std::max(longest, window.size());
  }
  std::optional<RotaryTable> rotary;
  if (spec.rope) rotary.emplace(*spec.rope, spec.head_dim, static_cast<std::int64_t>(longest));

  KvPool pool(KvShape::of(spec, kv, 1), static_cast<std::int64_t>(longest));
  const std::int64_t steps = std::ssize(windows);
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const auto block = load_block(checkpoint, spec, quantization, index);
    if (!block) return block.error();
    for (std::size_t w = 0; w < states.size(); ++w) {
      if (interrupted()) return interrupted_error(checkpoint);
      if (states[w].empty()) continue;
      Status done = forward_window(spec, *block, rotary ? &*rotary : nullptr, pool, states[w]);
      if (!done) return std::move(done).error();
      if (Status status = check_finite(checkpoint, states[w], index, w); !status) {
        return std::move(status).error();
      }
      if (on_block) on_block(index * steps + static_cast<std::int64_t>(w) + 1, spec.blocks * steps);
    }
  }
  const auto norm = load_norm(checkpoint, spec, spec.final_norm, spec.norm);
  if (!norm) return norm.error();
  for (std::vector<float>& hidden : states) apply(*norm, hidden, hidden);
  return states;
}

Result<std::vector<float>> ReferenceModel::logits(std::span<const float> states) const {
  const ModelSpec& spec = impl_->spec;
  const std::int64_t rows = std::ssize(states) / spec.hidden;
  CHECK(rows * spec.hidden == std::ssize(states));
  std::vector<float> result(static_cast<std::size_t>(rows * spec.vocabulary));
  for (std::int64_t begin = 0; begin < spec.vocabulary; begin += kHeadRowsAtOnce) {
    const std::int64_t end = std::min(begin + kHeadRowsAtOnce, spec.vocabulary);
    const auto head = head_rows(impl_->checkpoint, spec, begin, end);
    if (!head) return head.error();
    linear_product({states.data(), rows, spec.hidden, spec.hidden},
                   {head->data(), end - begin, spec.hidden, spec.hidden}, nullptr,
                   {result.data() + begin, rows, end - begin, spec.vocabulary});
  }
  return result;
}

}  // namespace lowbit
