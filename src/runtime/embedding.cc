#include "runtime/embedding.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace lowbit {

Status check_tokens(const ModelSpec& model, std::span<const TokenId> tokens, std::int64_t first) {
  if (first + std::ssize(tokens) > model.max_positions) {
    return bad_input("runtime/too-long",
                     fmt::format("{} tokens: the model has {} positions "
                                 "(max_position_embeddings); take shorter windows",
                                 first + std::ssize(tokens), model.max_positions));
  }
  for (const TokenId id : tokens) {
    if (id >= 0 && id < model.vocabulary) continue;
    return bad_input("runtime/bad-token",
                     fmt::format("token {}: the model's vocabulary has ids from 0 to {}; take the "
                                 "tokenizer that belongs to the model",
                                 id, model.vocabulary - 1));
  }
  return {};
}

Status check_table(const Checkpoint& checkpoint, const ModelSpec& model,
                   const std::string& module) {
  const auto table = checkpoint.tensor(module + ".weight");
  if (!table) return table.error();
  const std::vector<std::int64_t> expected = {model.vocabulary, model.hidden};
  if (table->info->shape == expected) return {};
  return bad_input("checkpoint/wrong-shape",
                   fmt::format("{}: tensor '{}' has shape [{}], config.json asks for [{}]; check "
                               "that they belong together",
                               checkpoint.folder().string(), table->info->name,
                               fmt::join(table->info->shape, ", "), fmt::join(expected, ", ")));
}

Result<TokenEmbedding> TokenEmbedding::open(const Checkpoint& checkpoint, const ModelSpec& model,
                                            const QuantizationMap& quantization) {
  TokenEmbedding embedding(checkpoint, model);
  const LinearScheme* scheme = quantization.find(model.embedding_name);
  if (scheme == nullptr) {
    if (Status status = check_table(checkpoint, model, model.embedding_name); !status) {
      return std::move(status).error();
    }
    return embedding;
  }
  auto packed = PackedRows::open(checkpoint, model.embedding_name, model.vocabulary, model.hidden,
                                 scheme->weight);
  if (!packed) return std::move(packed).error();
  embedding.packed_.emplace(std::move(*packed));
  return embedding;
}

Result<std::vector<float>> TokenEmbedding::rows(std::span<const TokenId> tokens,
                                                std::int64_t first) const {
  if (Status status = check_tokens(*model_, tokens, first); !status) {
    return std::move(status).error();
  }
  const auto width = static_cast<std::size_t>(model_->hidden);
  std::vector<float> hidden(tokens.size() * width);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto row = std::span(hidden).subspan(i * width, width);
    if (packed_) {
      if (Status read = packed_->decode(tokens[i], row); !read) return std::move(read).error();
      continue;
    }
    const auto stored = checkpoint_->float_rows(model_->embedding_name + ".weight", model_->hidden,
                                                tokens[i], tokens[i] + 1);
    if (!stored) return stored.error();
    std::copy(stored->begin(), stored->end(), row.begin());
  }
  Status added = add_positions(first, std::ssize(tokens), hidden);
  if (!added) return std::move(added).error();
  return hidden;
}

Status TokenEmbedding::add_positions(std::int64_t first, std::int64_t tokens,
                                     std::span<float> hidden) const {
  if (model_->position_name.empty()) return {};
  const std::int64_t begin = first + model_->position_offset;
  const auto positions = checkpoint_->float_rows(model_->position_name + ".weight", model_->hidden,
                                                 begin, begin + tokens);
  if (!positions) return positions.error();
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] += (*positions)[i];
  return {};
}

Result<LoadedLinear> load_head(const Checkpoint& checkpoint, const ModelSpec& model,
                               const QuantizationMap& quantization, Residence residence) {
  return load_linear(checkpoint,
                     {.name = model.head_name, .out = model.vocabulary, .in = model.hidden},
                     quantization, residence);
}

}  // namespace lowbit
