#include "runtime/embedding.h"

#include <fmt/format.h>

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

Result<std::vector<float>> embed(const Checkpoint& checkpoint, const ModelSpec& model,
                                 std::span<const TokenId> tokens, std::int64_t first) {
  if (Status status = check_tokens(model, tokens, first); !status) {
    return std::move(status).error();
  }
  std::vector<float> hidden;
  hidden.reserve(tokens.size() * static_cast<std::size_t>(model.hidden));
  for (const TokenId id : tokens) {
    // Row by row: the whole table would be the largest thing in memory.
    auto row = checkpoint.float_rows(model.embedding_name + ".weight", model.hidden, id, id + 1);
    if (!row) return std::move(row).error();
    hidden.insert(hidden.end(), row->begin(), row->end());
  }
  if (model.position_name.empty()) return hidden;
  const std::int64_t begin = first + model.position_offset;
  auto positions = checkpoint.float_rows(model.position_name + ".weight", model.hidden, begin,
                                         begin + std::ssize(tokens));
  if (!positions) return std::move(positions).error();
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] += (*positions)[i];
  return hidden;
}

Result<std::vector<float>> head_rows(const Checkpoint& checkpoint, const ModelSpec& model,
                                     std::int64_t begin, std::int64_t end) {
  return checkpoint.float_rows(model.head_name + ".weight", model.hidden, begin, end);
}

}  // namespace lowbit
