#include "runtime/reference_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/progress.h"
#include "runtime/blas.h"
#include "runtime/block.h"
#include "runtime/embedding.h"

namespace lowbit {

struct ReferenceModel::Impl {
  Checkpoint checkpoint;
  ModelSpec spec;
  QuantizationMap quantization;
  std::optional<KvType> kv_cache;
  std::optional<TokenEmbedding> embedding;  // borrows from the members above

  // A quantized head, loaded when it is first asked for: not every caller wants logits.
  std::once_flag head_once;
  std::optional<Result<LoadedLinear>> head;

  const Result<LoadedLinear>& packed_head() {
    std::call_once(head_once, [&] { head.emplace(load_head(checkpoint, spec, quantization)); });
    return *head;
  }
};

namespace {

constexpr std::int64_t kHeadRowsAtOnce = 16384;  // of the head, decoded to float32

using States = std::vector<std::vector<float>>;

// The linears that a quantization config may speak of.
std::vector<std::string> linear_names(const ModelSpec& spec) {
  std::vector<std::string> names;
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const BlockSpec block = spec.block(index);
    for (const LinearSpec* linear : block.linears()) names.push_back(linear->name);
  }
  if (!spec.tied_head) names.push_back(spec.head_name);
  return names;
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
const TokenEmbedding& ReferenceModel::embedding() const { return *impl_->embedding; }
std::optional<KvType> ReferenceModel::kv_cache() const { return impl_->kv_cache; }

Result<ReferenceModel> ReferenceModel::open(FileSystem& files, const Path& folder) {
  auto checkpoint = Checkpoint::open(files, folder);
  if (!checkpoint) return std::move(checkpoint).error();
  auto spec = read_model_spec(checkpoint->config());
  if (!spec) return within(folder.string(), std::move(spec).error());
  auto quantization =
      QuantizationMap::read(checkpoint->config(), linear_names(*spec), spec->embedding_name);
  if (!quantization) return within(folder.string(), std::move(quantization).error());
  const auto info = LowbitInfo::read(checkpoint->config());
  if (!info) return within(folder.string(), info.error());
  auto impl = std::make_unique<Impl>();
  if (*info) impl->kv_cache = (*info)->kv_cache;
  impl->checkpoint = std::move(*checkpoint);
  impl->spec = std::move(*spec);
  impl->quantization = std::move(*quantization);
  auto embedding = TokenEmbedding::open(impl->checkpoint, impl->spec, impl->quantization);
  if (!embedding) return std::move(embedding).error();
  impl->embedding.emplace(std::move(*embedding));
  if (impl->quantization.find(impl->spec.head_name) == nullptr) {
    Status status = check_table(impl->checkpoint, impl->spec, impl->spec.head_name);
    if (!status) return std::move(status).error();
  }
  return ReferenceModel(std::move(impl));
}

Result<States> ReferenceModel::final_states(std::span<const std::vector<TokenId>> windows,
                                            const Progress& on_block, KvType kv) const {
  const Checkpoint& checkpoint = impl_->checkpoint;
  const ModelSpec& spec = impl_->spec;
  States states;
  std::size_t longest = 0;
  for (const std::vector<TokenId>& window : windows) {
    auto embedded = impl_->embedding->rows(window, 0);
    if (!embedded) return std::move(embedded).error();
    states.push_back(std::move(*embedded));
    longest = std::max(longest, window.size());
  }
  std::optional<RotaryTable> rotary;
  if (spec.rope) rotary.emplace(*spec.rope, spec.head_dim, static_cast<std::int64_t>(longest));

  KvPool pool(KvShape::of(spec, kv, 1), static_cast<std::int64_t>(longest));
  BlockRows rows;
  const std::int64_t steps = std::ssize(windows);
  for (std::int64_t index = 0; index < spec.blocks; ++index) {
    const auto block = load_block(checkpoint, spec, impl_->quantization, index);
    if (!block) return block.error();
    for (std::size_t w = 0; w < states.size(); ++w) {
      if (interrupted()) return interrupted_error(checkpoint);
      if (states[w].empty()) continue;
      Status done =
          forward_window(spec, *block, rotary ? &*rotary : nullptr, pool, rows, states[w]);
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
  if (impl_->quantization.find(spec.head_name) != nullptr) {
    const Result<LoadedLinear>& head = impl_->packed_head();
    if (!head) return head.error();
    apply(*head, states, result);
    return result;
  }
  for (std::int64_t begin = 0; begin < spec.vocabulary; begin += kHeadRowsAtOnce) {
    const std::int64_t end = std::min(begin + kHeadRowsAtOnce, spec.vocabulary);
    const auto head =
        impl_->checkpoint.float_rows(spec.head_name + ".weight", spec.hidden, begin, end);
    if (!head) return head.error();
    linear_product({states.data(), rows, spec.hidden, spec.hidden},
                   {head->data(), end - begin, spec.hidden, spec.hidden}, nullptr,
                   {result.data() + begin, rows, end - begin, spec.vocabulary});
  }
  return result;
}

}  // namespace lowbit
