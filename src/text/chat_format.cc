#include "text/chat_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "text/limits.h"

namespace lowbit {
namespace {

ChatFormat chatml(std::string_view name) {
  return {.name = name,
          .system_open = "<|im_start|>system\n",
          .system_close = "<|im_end|>\n",
          .user_open = "<|im_start|>user\n",
          .user_close = "<|im_end|>\n",
          .reply_prompt = "<|im_start|>assistant\n",
          .reply_open = "<|im_start|>assistant\n",
          .reply_close = "<|im_end|>\n",
          .ends = {"<|im_end|>", "<|endoftext|>"}};
}

ChatFormat llama3(std::string_view name) {
  return {.name = name,
          .begin = "<|begin_of_text|>",
          .system_open = "<|start_header_id|>system<|end_header_id|>\n\n",
          .system_close = "<|eot_id|>",
          .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
          .user_close = "<|eot_id|>",
          .reply_prompt = "<|start_header_id|>assistant<|end_header_id|>\n\n",
          .reply_open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
          .reply_close = "<|eot_id|>",
          .edges = ContentEdges::trimmed,
          .ends = {"<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}};
}

// The system message stands before the first user message; the later templates have it before the
// last, where a conversation would not grow by appending.
ChatFormat mistral(std::string_view name, std::string_view open, std::string_view close,
                   std::string_view reply_open) {
  return {.name = name,
          .begin = "<s>",
          .system_place = SystemPlace::within_first_user,
          .system_close = "\n\n",
          .user_open = open,
          .user_close = close,
          .reply_open = reply_open,
          .reply_close = "</s>",
          .ends = {"</s>"}};
}

struct Formats {
  ChatFormat llama2 = {.name = "LLaMA 2",
                       .system_place = SystemPlace::within_first_user,
                       .system_open = "<<SYS>>\n",
                       .system_close = "\n<</SYS>>\n\n",
                       .user_open = "<s>[INST] ",
                       .user_close = " [/INST]",
                       .reply_open = " ",
                       .reply_close = " </s>",
                       .edges = ContentEdges::trimmed,
                       .ends = {"</s>"}};
  ChatFormat mistral_v1 = mistral("Mistral v1", " [INST] ", " [/INST]", " ");
  ChatFormat mistral_v3 = mistral("Mistral v3", "[INST] ", "[/INST]", " ");
  ChatFormat mistral_tekken = mistral("Mistral Tekken", "[INST]", "[/INST]", "");
  ChatFormat llama_3 = llama3("LLaMA 3");
  ChatFormat llama_31 = llama3("LLaMA 3.1");
  ChatFormat chatml_plain = chatml("ChatML");
  ChatFormat qwen_2 = chatml("Qwen2");
  ChatFormat qwen_25 = chatml("Qwen2.5");
  ChatFormat qwen_3 = chatml("Qwen3");
};

const Formats& formats() {
  static const Formats kFormats = [] {
    Formats all;
    // The date is the templates' own; today's would change what a conversation begins with.
    all.llama_31.system_open =
        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n";
    all.llama_31.default_system = "";
    all.qwen_2.default_system = "You are a helpful assistant.";
    all.qwen_25.default_system =
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
    all.qwen_3.reply_prompt = "<|im_start|>assistant\n<think>\n\n</think>\n\n";
    return all;
  }();
  return kFormats;
}

// The edges of ASCII: what else Unicode calls a space is seldom the edge of a message.
std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\v\f\r";
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

class ChatWriter {
 public:
  explicit ChatWriter(const ChatFormat& format) : format_(format) {}

  void control(std::string_view text) { add(ChatPiece::Origin::format, text); }
  void message(std::string_view open, std::string_view content, std::string_view close) {
    control(open);
    add(ChatPiece::Origin::message,
        format_.edges == ContentEdges::trimmed ? trimmed(content) : content);
    control(close);
  }
  std::vector<ChatPiece> take() { return std::move(pieces_); }

 private:
  void add(ChatPiece::Origin origin, std::string_view text) {
    if (!text.empty()) pieces_.push_back({origin, std::string(text)});
  }

  const ChatFormat& format_;
  std::vector<ChatPiece> pieces_;
};

Error bad_messages(const std::string& problem) {
  return usage_error("chat/bad-messages", "messages: " + problem);
}

Status check_turns(std::span<const ChatMessage> turns) {
  if (turns.size() % 2 == 0) return bad_messages("the last one must be the user's");
  if (turns.size() > tokenizer_limits::kChatMessages) {
    return bad_messages(
        fmt::format("{} of them; take at most {}", turns.size(), tokenizer_limits::kChatMessages));
  }
  for (std::size_t index = 0; index < turns.size(); ++index) {
    if (turns[index].role == (index % 2 == 0 ? ChatRole::user : ChatRole::assistant)) continue;
    return bad_messages(
        fmt::format("number {} breaks the order: a system message or none, then user and "
                    "assistant in turns",
                    index));
  }
  return {};
}

}  // namespace

const ChatFormat* format_of_template(std::string_view source) {
  const auto has = [source](std::string_view text) { return source.find(text) != source.npos; };
  const Formats& all = formats();
  if (has("<|im_start|>")) {
    if (has("enable_thinking")) return &all.qwen_3;
    if (has(*all.qwen_25.default_system)) return &all.qwen_25;
    return has(*all.qwen_2.default_system) ? &all.qwen_2 : &all.chatml_plain;
  }
  if (has("<|start_header_id|>")) {
    return has("Cutting Knowledge Date") ? &all.llama_31 : &all.llama_3;
  }
  if (has("<<SYS>>")) return &all.llama2;
  if (!has("[INST]") || has("[SYSTEM_PROMPT]")) return nullptr;  // the latter: Mistral from v7 on
  if (has(" [/INST]")) return &all.mistral_v1;
  return has("[INST] ") ? &all.mistral_v3 : &all.mistral_tekken;
}

const ChatFormat* format_of_tokens(const std::function<bool(std::string_view)>& has_token) {
  const Formats& all = formats();
  if (has_token("<|start_header_id|>") && has_token("<|eot_id|>")) return &all.llama_3;
  if (has_token("<|im_start|>")) return has_token("<think>") ? &all.qwen_3 : &all.chatml_plain;
  return has_token("[INST]") ? &all.mistral_v3 : nullptr;
}

const ChatFormat& thinking_format(const ChatFormat& format) {
  // Qwen3's without the empty block of thoughts, which the model then writes itself.
  return &format == &formats().qwen_3 ? formats().chatml_plain : format;
}

std::span<const std::string_view> chat_markers() {
  static constexpr std::string_view kMarkers[] = {"<s>",
                                                  "</s>",
                                                  "[INST]",
                                                  "[/INST]",
                                                  "<|begin_of_text|>",
                                                  "<|start_header_id|>",
                                                  "<|end_header_id|>",
                                                  "<|eot_id|>",
                                                  "<|im_start|>",
                                                  "<|im_end|>",
                                                  "<think>",
                                                  "</think>"};
  return kMarkers;
}

Result<std::vector<ChatPiece>> write_chat(const ChatFormat& format,
                                          std::span<const ChatMessage> messages) {
  std::optional<std::string_view> system = format.default_system;
  if (!messages.empty() && messages[0].role == ChatRole::system) {
    system = messages[0].content;
    messages = messages.subspan(1);
  }
  if (Status status = check_turns(messages); !status) return std::move(status).error();
  ChatWriter writer(format);
  writer.control(format.begin);
  if (system && format.system_place == SystemPlace::before_user) {
    writer.message(format.system_open, *system, format.system_close);
  }
  for (std::size_t index = 0; index < messages.size(); ++index) {
    const std::string& content = messages[index].content;
    if (messages[index].role == ChatRole::assistant) {
      writer.message(format.reply_open, content, format.reply_close);
    } else if (index == 0 && system && format.system_place == SystemPlace::within_first_user) {
      // One message of the two: the edges of both together are trimmed.
      std::string both(format.system_open);
      both.append(*system).append(format.system_close).append(content);
      writer.message(format.user_open, both, format.user_close);
    } else {
      writer.message(format.user_open, content, format.user_close);
    }
  }
  writer.control(format.reply_prompt);
  return writer.take();
}

std::vector<ChatPiece> write_next_turn(const ChatFormat& format, std::string_view user) {
  ChatWriter writer(format);
  // Spaces before the marker belong to the reply: the model has written them, or has not.
  writer.control(format.reply_close.substr(format.reply_close.find_first_not_of(' ')));
  writer.message(format.user_open, user, format.user_close);
  writer.control(format.reply_prompt);
  return writer.take();
}

}  // namespace lowbit
