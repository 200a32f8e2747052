#include "text/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/json_fields.h"
#include "text/limits.h"
#include "text/utf8.h"

namespace lowbit {
namespace {

namespace limits = tokenizer_limits;

constexpr std::size_t kIndexedCharacters = 0x10000;

Error bad_vocabulary(const std::string& message) {
  return bad_input("tokenizer/bad-vocabulary", "model: vocab: " + message);
}
Error bad_merges(std::size_t index, std::string_view problem) {
  return bad_input("tokenizer/bad-merges", fmt::format("model: merges: {}: {}", index, problem));
}

struct TokenPair {
  std::string_view left;
  std::string_view right;
};

// "a b" or ["a", "b"]; views into the JSON.
Result<TokenPair> read_pair(const Json& json, std::size_t index) {
  if (json.is_array() && json.size() == 2 && json[0].is_string() && json[1].is_string()) {
    return TokenPair{json[0].get_ref<const std::string&>(), json[1].get_ref<const std::string&>()};
  }
  if (!json.is_string()) return bad_merges(index, R"(expected "a b" or ["a", "b"])");
  const std::string_view text = json.get_ref<const std::string&>();
  const std::size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) {
    return bad_merges(index, fmt::format("'{}': expected two tokens and one space between them",
                                         text.substr(0, 80)));
  }
  return TokenPair{text.substr(0, space), text.substr(space + 1)};
}

// Older files start their merges with a line that names the format.
bool is_version_line(const Json& json) {
  return json.is_string() && json.get_ref<const std::string&>().starts_with("#version");
}

std::uint64_t pair_key(char32_t left, char32_t right) {
  return std::uint64_t{left} << 32 | std::uint64_t{right};
}

// {"dropout": ..., "continuing_subword_prefix": ...}: what no supported model uses.
Status refuse_rare_options(const Json& model) {
  const Json* dropout = find_field(model, "dropout");
  if (dropout != nullptr && !(dropout->is_number() && dropout->get<double>() == 0)) {
    return unsupported("model 'BPE': \"dropout\"", "null or 0");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json* affix = find_field(model, key);
    const bool empty =
        affix == nullptr || (affix->is_string() && affix->get<std::string>().empty());
    if (!empty) return unsupported(fmt::format("model 'BPE': \"{}\"", key), "null or \"\"");
  }
  return {};
}

}  // namespace

Result<Bpe> Bpe::read(const Json& tokenizer) {
  const Json* model = find_field(tokenizer, "model");
  if (model == nullptr || !model->is_object()) return syntax_error("has no object \"model\"");
  const JsonPart part{model, "model", ""};
  // Files of the first versions name no type.
  const auto type = string_field(part, "type", "BPE");
  if (!type) return type.error();
  if (*type != "BPE") return unsupported(fmt::format("model '{}'", type->substr(0, 80)), "BPE");
  Bpe bpe;
  if (auto done = bpe.read_options(part); !done) return std::move(done).error();
  if (auto done = bpe.read_vocabulary(*model); !done) return std::move(done).error();
  if (auto done = bpe.read_merges(*model); !done) return std::move(done).error();
  bpe.index_characters();
  return bpe;
}

Status Bpe::read_options(const JsonPart& model) {
  if (auto done = refuse_rare_options(*model.json); !done) return done;
  const struct {
    const char* key;
    bool* value;
  } flags[] = {{"byte_fallback", &options_.byte_fallback},
               {"fuse_unk", &options_.fuse_unknown},
               {"ignore_merges", &options_.ignore_merges}};
  for (const auto& flag : flags) {
    const auto value = bool_field(model, flag.key, false);
    if (!value) return value.error();
    *flag.value = *value;
  }
  options_.has_unknown_token = find_field(*model.json, "unk_token") != nullptr;
  auto unknown = string_field(model, "unk_token", "");
  if (!unknown) return std::move(unknown).error();
  options_.unknown_token = *std::move(unknown);
  return {};
}

Status Bpe::read_vocabulary(const Json& model) {
  const Json* vocabulary = find_field(model, "vocab");
  if (vocabulary == nullptr || !vocabulary->is_object()) {
    return bad_vocabulary("missing, expected an object of tokens and ids");
  }
  for (const auto& [token, id] : vocabulary->items()) {
    const bool in_range =
        id.is_number_unsigned() && id.get<std::uint64_t>() < std::uint64_t{limits::kTokens};
    if (!in_range) {
      return bad_vocabulary(
          fmt::format("token '{}' has id {}, expected a whole number from 0 to {}",
                      token.substr(0, 80), id.dump().substr(0, 40), limits::kTokens - 1));
    }
    const auto index = id.get<std::size_t>();
    if (index >= tokens_.size()) {
      tokens_.resize(index + 1);
      is_token_.resize(index + 1);
    }
    if (is_token_[index]) {
      return bad_vocabulary(fmt::format("tokens '{}' and '{}' both have id {}",
                                        tokens_[index].substr(0, 80), token.substr(0, 80), index));
    }
    is_token_[index] = true;
    tokens_[index] = token;
  }
  ids_.reserve(vocabulary->size());
  for (std::size_t id = 0; id < tokens_.size(); ++id) {
    if (is_token_[id]) ids_.emplace(tokens_[id], static_cast<TokenId>(id));
  }
  return {};
}

Status Bpe::read_merges(const Json& model) {
  const Json* list = find_field(model, "merges");
  if (list == nullptr || !list->is_array()) {
    return bad_input("tokenizer/bad-merges", "model: merges: missing, expected an array");
  }
  std::vector<Merge> merges;
  merges.reserve(list->size());
  std::string merged;
  for (std::size_t index = 0; index < list->size(); ++index) {
    if (is_version_line((*list)[index])) continue;
    const auto pair = read_pair((*list)[index], index);
    if (!pair) return pair.error();
    merged.assign(pair->left).append(pair->right);
    for (const std::string_view token : {pair->left, pair->right, std::string_view(merged)}) {
      if (id_of(token) >= 0) continue;
      return bad_merges(index, fmt::format("'{}' + '{}': token '{}' is not in the vocabulary",
                                           pair->left.substr(0, 80), pair->right.substr(0, 80),
                                           token.substr(0, 160)));
    }
    merges.push_back({id_of(pair->left), id_of(pair->right), id_of(merged),
                      static_cast<std::int32_t>(merges.size())});
  }
  merges_ = MergeTable(std::move(merges), end_id());
  return {};
}

void Bpe::index_characters() {
  character_ids_.assign(kIndexedCharacters, -1);
  for (const auto& [token, id] : ids_) {
    if (token.empty()) continue;
    const CodePoint point = code_point_at(token, 0);
    if (point.size == token.size() && point.value < kIndexedCharacters) {
      character_ids_[point.value] = id;
    }
  }
  byte_ids_.resize(256);
  for (unsigned byte = 0; byte < 256; ++byte)
    byte_ids_[byte] = id_of(fmt::format("<0x{:02X}>", byte));
  for (const Merge& merge : merges_.merges()) {
    const std::string_view token = tokens_[static_cast<std::size_t>(merge.merged)];
    char32_t left = 0;
    for (std::size_t at = 0; at < token.size();) {
      const CodePoint point = code_point_at(token, at);
      if (at > 0) joined_.push_back(pair_key(left, point.value));
      left = point.value;
      at += point.size;
    }
  }
  std::ranges::sort(joined_);
  joined_.erase(std::unique(joined_.begin(), joined_.end()), joined_.end());
}

TokenId Bpe::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

const std::string* Bpe::token_of(TokenId id) const {
  if (id < 0 || id >= end_id() || !is_token_[static_cast<std::size_t>(id)]) return nullptr;
  return &tokens_[static_cast<std::size_t>(id)];
}

TokenId Bpe::id_of_character(char32_t point) const {
  if (point < kIndexedCharacters) return character_ids_[point];
  std::string character;
  append_utf8(character, point);
  return id_of(character);
}

// Whether some merged token has the two side by side. If none has, no merge ever crosses the place
// between them, and a word may be encoded in two halves.
bool Bpe::may_join(char32_t left, char32_t right) const {
  return std::ranges::binary_search(joined_, pair_key(left, right));
}

}  // namespace lowbit
