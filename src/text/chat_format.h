// How the instruction-tuned models of a family had their conversations written: the markers around
// each message. The published templates are Jinja programs; what they write for messages is little
// enough to stand in a table, and a table runs nothing from outside.
//
// Errors: chat/bad-messages.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lowbit {

enum class ChatRole { system, user, assistant };

struct ChatMessage {
  ChatRole role = ChatRole::user;
  std::string content;
};

enum class SystemPlace { before_user, within_first_user };
enum class ContentEdges { kept, trimmed };  // of white space

struct ChatFormat {
  std::string_view name = {};
  std::string_view begin = {};  // of a conversation
  SystemPlace system_place = SystemPlace::before_user;
  std::string_view system_open = {}, system_close = {};
  std::optional<std::string_view> default_system = {};  // where there is no system message
  std::string_view user_open, user_close;
  std::string_view reply_prompt = {};  // after the last user message; the model goes on from it
  std::string_view reply_open = {}, reply_close = {};  // around a reply of the past
  ContentEdges edges = ContentEdges::kept;
  std::vector<std::string_view> ends = {};  // tokens that end a reply; the tokenizer may lack some
};

// By the source of a published template; nullptr if it is of no known format.
const ChatFormat* format_of_template(std::string_view source);
// By the tokens that a tokenizer has; nullptr if they tell nothing.
const ChatFormat* format_of_tokens(const std::function<bool(std::string_view)>& has_token);
// The same format for a model that is to think before it answers, where it makes a difference.
const ChatFormat& thinking_format(const ChatFormat& format);

// Texts in a format that stand for one token each, where the tokenizer has them.
std::span<const std::string_view> chat_markers();

// The text of a conversation in pieces: those of the format may hold markers, those of a message
// never do.
struct ChatPiece {
  enum class Origin { format, message };
  Origin origin = Origin::format;
  std::string text;
};

// A system message or none, then user and assistant in turns, the last of them a user's.
Result<std::vector<ChatPiece>> write_chat(const ChatFormat& format,
                                          std::span<const ChatMessage> messages);
// What follows a reply: its end and the next user message.
std::vector<ChatPiece> write_next_turn(const ChatFormat& format, std::string_view user);

}  // namespace lowbit
