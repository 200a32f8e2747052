#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/json.h"
#include "text/limits.h"

namespace lowbit {
namespace {

Error bad_config(const std::string& problem) { return bad_input("chat/bad-config", problem); }

// Of the folder's files; empty where none has a template.
Result<std::string> template_source(FileSystem& files, const Path& folder) {
  constexpr std::uint64_t kLimit = tokenizer_limits::kChatConfigBytes;
  const Path alone = folder / "chat_template.jinja";
  if (files.exists(alone)) return files.read(alone, kLimit);
  const Path config = folder / "tokenizer_config.json";
  if (!files.exists(config)) return std::string();
  const Result<std::string> text = files.read(config, kLimit);
  if (!text) return text;
  Result<std::string> source = chat_template_of_config(*text);
  if (!source) return within(config.string(), std::move(source).error());
  return source;
}

Error without_template(const char* code, const Path& folder, std::string_view what) {
  return bad_input(
      code,
      fmt::format("{}: {}; known are those of LLaMA 2, 3, 3.1 and 3.2, Mistral up to v3 and "
                  "Tekken, ChatML, Qwen2, 2.5 and 3; `lowbit run` continues a text without one",
                  folder.string(), what));
}

}  // namespace

Result<std::string> chat_template_of_config(std::string_view json) {
  const Result<Json> config = parse_json(json);
  if (!config) return bad_config(config.error().message);
  if (!config->is_object()) return bad_config("is not a JSON object");
  const auto found = config->find("chat_template");
  if (found == config->end() || found->is_null()) return std::string();
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return bad_config("\"chat_template\" is no text and no list");
  for (const Json& entry : *found) {
    const auto text_at = [&entry](const char* key) {
      return entry.is_object() && entry.contains(key) && entry[key].is_string();
    };
    if (!text_at("name") || !text_at("template")) {
      return bad_config("\"chat_template\": an entry has no \"name\" and \"template\" of text");
    }
    if (entry["name"] == "default") return entry["template"].get<std::string>();
  }
  return bad_config("\"chat_template\": none of the list is named \"default\"");
}

Result<ChatTemplate> ChatTemplate::of(FileSystem& files, const Path& folder,
                                      const Tokenizer& tokenizer, Thinking thinking) {
  const Result<std::string> source = template_source(files, folder);
  if (!source) return source.error();
  const auto has_token = [&](std::string_view text) { return tokenizer.id_of(text) >= 0; };
  const ChatFormat* format =
      source->empty() ? format_of_tokens(has_token) : format_of_template(*source);
  if (format == nullptr && source->empty()) {
    return without_template("chat/no-template", folder,
                            "has no chat template, and its special tokens are of no known one");
  }
  if (format == nullptr) {
    return without_template("chat/unknown-template", folder, "its chat template is not known");
  }
  ChatTemplate result(thinking == Thinking::on ? thinking_format(*format) : *format, tokenizer);
  if (Status status = result.find_tokens(); !status) return std::move(status).error();
  return result;
}

Status ChatTemplate::find_tokens() {
  for (const std::string_view text : chat_markers()) {
    if (const TokenId id = tokenizer_->id_of(text); id >= 0) markers_.push_back({text, id});
  }
  for (const std::string_view text : format_->ends) {
    if (const TokenId id = tokenizer_->id_of(text); id >= 0) ends_.push_back(id);
  }
  // The first is what the format itself ends a reply with; without it no reply would end.
  if (const auto end = format_->ends.front(); tokenizer_->id_of(end) < 0) {
    return bad_input("chat/no-token",
                     fmt::format("the chat format is that of {}, but the tokenizer has no {}; "
                                 "the folder's files are of different models",
                                 name(), end));
  }
  return {};
}

Result<std::vector<TokenId>> ChatTemplate::first_turn(std::span<const ChatMessage> messages) const {
  const auto pieces = write_chat(*format_, messages);
  if (!pieces) return pieces.error();
  return encode(*pieces);
}

Result<std::vector<TokenId>> ChatTemplate::next_turn(std::string_view user) const {
  return encode(write_next_turn(*format_, user));
}

bool ChatTemplate::is_end(TokenId id) const {
  return std::find(ends_.begin(), ends_.end(), id) != ends_.end();
}

// Text of the format and of messages between two markers is one text, as it was in training: words
// may span both.
Result<std::vector<TokenId>> ChatTemplate::encode(std::span<const ChatPiece> pieces) const {
  std::vector<TextPart> parts;
  const auto add_text = [&parts](std::string_view text) {
    if (text.empty()) return;
    if (parts.empty() || parts.back().id != TextPart::kText) parts.emplace_back();
    parts.back().text += text;
  };
  for (const ChatPiece& piece : pieces) {
    std::string_view rest = piece.text;
    while (piece.origin == ChatPiece::Origin::format) {
      std::size_t at = rest.npos;
      const Marker* first = nullptr;
      for (const Marker& marker : markers_) {
        const std::size_t found = rest.find(marker.text);
        if (found >= at) continue;
        at = found;
        first = &marker;
      }
      if (first == nullptr) break;
      add_text(rest.substr(0, at));
      parts.push_back({first->id});
      rest.remove_prefix(at + first->text.size());
    }
    add_text(rest);
  }
  return tokenizer_->encode_parts(parts);
}

}  // namespace lowbit
