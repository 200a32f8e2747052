#include "text/post_processor.h"

#include <fmt/format.h>

#include "text/limits.h"

namespace lowbit {
namespace {

namespace limits = tokenizer_limits;

// The ids of a special token by the template's own table.
Status append_special(const JsonPart& part, const std::string& name, std::vector<TokenId>& ids) {
  const Json* table = find_field(*part.json, "special_tokens");
  const Json* entry =
      table != nullptr && table->is_object() ? find_field(*table, name.c_str()) : nullptr;
  const Json* list = entry != nullptr && entry->is_object() ? find_field(*entry, "ids") : nullptr;
  if (list == nullptr || !list->is_array() || list->size() > limits::kTemplatePieces) {
    return syntax_error(fmt::format("{}: \"special_tokens\" has no short list of \"ids\" for '{}'",
                                    part.name, name.substr(0, 80)));
  }
  for (const Json& id : *list) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= std::uint64_t{limits::kTokens}) {
      return syntax_error(fmt::format("{}: special token '{}': id {}, expected 0 to {}", part.name,
                                      name.substr(0, 80), id.dump().substr(0, 40),
                                      limits::kTokens - 1));
    }
    ids.push_back(id.get<TokenId>());
  }
  return {};
}

// The "id" of {"SpecialToken": {"id": ...}} or {"Sequence": {"id": ...}}, nullptr if not that.
const std::string* piece_id(const Json& piece, const char* kind) {
  if (!piece.is_object()) return nullptr;
  const Json* body = find_field(piece, kind);
  const Json* id = body != nullptr && body->is_object() ? find_field(*body, "id") : nullptr;
  return id != nullptr && id->is_string() ? &id->get_ref<const std::string&>() : nullptr;
}

}  // namespace

Result<PostProcessor> PostProcessor::read(const Json& tokenizer) {
  auto parts = parts_of(tokenizer, "post_processor", "processors");
  if (!parts) return std::move(parts).error();
  PostProcessor processor;
  for (const JsonPart& part : *parts) {
    if (part.type == "ByteLevel") continue;  // trims offsets, which nobody asks for here
    if (part.type != "TemplateProcessing") {
      return unsupported(part.name, "TemplateProcessing, ByteLevel, Sequence");
    }
    if (auto done = processor.add_template(part); !done) return std::move(done).error();
  }
  return processor;
}

// A later template wraps what the earlier ones made.
Status PostProcessor::add_template(const JsonPart& part) {
  const Json* single = find_field(*part.json, "single");
  if (single == nullptr || !single->is_array() || single->size() > limits::kTemplatePieces) {
    return syntax_error(part.name + ": has no short array \"single\"");
  }
  std::vector<TokenId> before;
  std::vector<TokenId> after;
  bool has_text = false;
  for (const Json& piece : *single) {
    if (const std::string* token = piece_id(piece, "SpecialToken")) {
      if (auto done = append_special(part, *token, has_text ? after : before); !done) return done;
      continue;
    }
    const std::string* sequence = piece_id(piece, "Sequence");
    if (sequence == nullptr) return syntax_error(part.name + ": \"single\" has an unknown piece");
    if (*sequence != "A" || has_text) {
      return unsupported(part.name + ": \"single\" with other than one sequence A",
                         "special tokens around one sequence A");
    }
    has_text = true;
  }
  if (!has_text) return unsupported(part.name + ": \"single\" without sequence A", "sequence A");
  before.insert(before.end(), before_.begin(), before_.end());
  before_ = std::move(before);
  after_.insert(after_.end(), after.begin(), after.end());
  return {};
}

}  // namespace lowbit
