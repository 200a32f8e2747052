// A conversation as the token ids that a model was trained on. What users write cannot become a
// special token: only the format's own markers do.
//
// The format is recognised, in this order, by chat_template.jinja, by the "chat_template" of
// tokenizer_config.json (a text, or a list of named ones of which "default" counts), or, where
// neither is there, by the tokenizer's special tokens. A template is looked at, never run.
//
// Errors: chat/{bad-config, unknown-template, no-template, no-token}, chat/bad-messages, and those
// of Tokenizer::encode.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

namespace lowbit {

// Qwen3 may think before it answers. Off is the default: an answer then costs no thousand tokens,
// and what was thought would have to leave the conversation, which could not grow by appending.
enum class Thinking { off, on };

class ChatTemplate {
 public:
  // The tokenizer must outlive it.
  static Result<ChatTemplate> of(FileSystem& files, const Path& folder, const Tokenizer& tokenizer,
                                 Thinking thinking = Thinking::off);

  std::string_view name() const { return format_->name; }

  // From the beginning to where the model speaks: BOS where the format has one, a system message
  // (or the family's own), perhaps turns of the past, and the user's message.
  Result<std::vector<TokenId>> first_turn(std::span<const ChatMessage> messages) const;
  // What comes after the ids of a reply, without the token that ended it.
  Result<std::vector<TokenId>> next_turn(std::string_view user) const;

  bool is_end(TokenId id) const;  // whether the token ends a reply

 private:
  ChatTemplate(const ChatFormat& format, const Tokenizer& tokenizer)
      : format_(&format), tokenizer_(&tokenizer) {}
  Status find_tokens();
  Result<std::vector<TokenId>> encode(std::span<const ChatPiece> pieces) const;

  struct Marker {
    std::string_view text;
    TokenId id;
  };
  const ChatFormat* format_;
  const Tokenizer* tokenizer_;
  std::vector<Marker> markers_;
  std::vector<TokenId> ends_;
};

// The "chat_template" of a tokenizer_config.json; empty where there is none.
Result<std::string> chat_template_of_config(std::string_view json);

}  // namespace lowbit
