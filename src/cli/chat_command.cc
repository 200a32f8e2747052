// lowbit chat: a conversation at the terminal. Answers appear as they are written, Ctrl-C ends one,
// and the whole conversation stays in the key-value cache, so that a turn costs its own tokens.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "base/progress.h"
#include "cli/chat_line.h"
#include "cli/command.h"
#include "cli/kv_option.h"
#include "cli/sampling_options.h"
#include "cli/threads_option.h"
#include "runtime/engine.h"
#include "text/chat_template.h"
#include "text/text_stream.h"

namespace lowbit {
namespace {

struct ConversationOptions {
  SamplingRule rule;
  std::uint64_t seed = 42;
  std::vector<std::string> stops;
  std::int64_t most_tokens = 1024;  // of an answer
  std::int64_t context = 4096;      // positions kept; older turns leave when they are full
};

struct Answer {
  std::int64_t tokens = 0;
  double seconds = 0;
  std::int64_t turns_dropped = 0;  // exchanges that left the context
};

class Conversation {
 public:
  Conversation(Engine& engine, const Tokenizer& tokenizer, const ChatTemplate& format,
               ConversationOptions options)
      : engine_(engine),
        tokenizer_(tokenizer),
        format_(format),
        options_(std::move(options)),
        sequence_(engine.start()),
        random_(options_.seed, 0) {}

  // Begins anew; an empty text is no system message.
  void reset(const std::string& system) {
    messages_.clear();
    if (!system.empty()) messages_.push_back({ChatRole::system, system});
    forget();
  }

  // Takes what the user says and prints the answer. After an error the turn has not been.
  Result<Answer> say(const std::string& text) {
    Result<Answer> answer = Answer{};
    Status taken = take(text, answer->turns_dropped);
    if (!taken) {
      undo();
      return std::move(taken).error();
    }
    const auto start = std::chrono::steady_clock::now();
    Status written = write(*answer);
    if (!written) {
      undo();
      return std::move(written).error();
    }
    answer->seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return answer;
  }

 private:
  void forget() {
    sequence_.truncate(0);
    tokens_.clear();
  }

  // The user's message leaves again; the next turn reads the conversation from its beginning.
  void undo() {
    if (!messages_.empty() && messages_.back().role == ChatRole::user) messages_.pop_back();
    forget();
  }

  std::int64_t room() const { return options_.context - std::ssize(tokens_); }

  Status take(const std::string& text, std::int64_t& dropped) {
    messages_.push_back({ChatRole::user, text});
    const Result<std::vector<TokenId>> ids =
        tokens_.empty() ? format_.first_turn(messages_) : format_.next_turn(text);
    if (!ids) return ids.error();
    tokens_.insert(tokens_.end(), ids->begin(), ids->end());
    // An answer wants a quarter of the context; the oldest exchange leaves until it has that.
    const std::int64_t wanted = std::min(options_.most_tokens, options_.context / 4);
    while (room() < wanted) {
      const auto oldest = std::find_if(messages_.begin(), messages_.end(), [](const auto& message) {
        return message.role == ChatRole::user;
      });
      if (messages_.end() - oldest < 3) {
        if (room() > 0) return {};
        return usage_error("chat/too-long",
                           fmt::format("the message needs {} tokens with what must precede it, and "
                                       "the context has {}; say less, or give a larger --context",
                                       tokens_.size(), options_.context));
      }
      messages_.erase(oldest, oldest + 2);
      ++dropped;
      forget();
      const Result<std::vector<TokenId>> all = format_.first_turn(messages_);
      if (!all) return all.error();
      tokens_ = *all;
    }
    return {};
  }

  Status write(Answer& answer) {
    Result<TextStream> stream = TextStream::start(tokenizer_, options_.stops);
    if (!stream) return stream.error();
    std::string text;
    const auto print = [&](const Result<std::string>& piece) -> Status {
      if (!piece) return piece.error();
      print_model_text(*piece);
      text += *piece;
      return {};
    };
    while (answer.tokens < options_.most_tokens && room() > 0 && !stream->stop()) {
      const Result<std::optional<TokenId>> next = next_token();
      if (!next) return next.error();
      if (!*next) break;
      tokens_.push_back(**next);
      ++answer.tokens;
      if (Status printed = print(stream->add(**next)); !printed) return printed;
    }
    if (Status printed = print(stream->finish()); !printed) return printed;
    messages_.push_back({ChatRole::assistant, text});
    return {};
  }

  // None where the model ends its answer, or the user does.
  Result<std::optional<TokenId>> next_token() {
    const Extension extension{
        &sequence_, std::span(tokens_).subspan(static_cast<std::size_t>(sequence_.length()))};
    const auto logits = engine_.extend({&extension, 1});
    if (!logits && logits.error().kind == ErrorKind::interrupted && take_interrupt()) {
      return std::optional<TokenId>();
    }
    if (!logits) return logits.error();
    const TokenId id = sample(*logits, options_.rule, tokens_, random_);
    const auto& ends = engine_.spec().eos_tokens;
    const bool ended = format_.is_end(id) || std::find(ends.begin(), ends.end(), id) != ends.end();
    if (take_interrupt() || ended) return std::optional<TokenId>();
    return std::optional<TokenId>(id);
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const ChatTemplate& format_;
  ConversationOptions options_;
  KvSequence sequence_;          // of the first of the tokens
  std::vector<TokenId> tokens_;  // of the conversation, without the end of its last answer
  std::vector<ChatMessage> messages_;
  RandomNumbers random_;
};

class ChatCommand : public Command {
 public:
  std::string name() const override { return "chat"; }
  std::string purpose() const override { return "Talk with a model at the terminal"; }

  void declare(CLI::App& app) override {
    app.add_option("MODEL", model_, "Model folder, packed or float")->required();
    app.add_option("--system", system_, "What the model is told before the conversation");
    app.add_option("-n,--max-tokens", options_.most_tokens, "Most tokens of an answer")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
        ->capture_default_str();
    app.add_option("--context", options_.context,
                   "Tokens of the conversation that are kept, at most the model's; the oldest "
                   "turns leave first")
        ->check(CLI::Range(std::int64_t{16}, std::int64_t{1} << 24))
        ->capture_default_str();
    app.add_flag("--think", think_, "Let a model that can think before it answers do so");
    app.add_flag("--stats", stats_, "Tell the speed after each answer, on standard error");
    sampling_.declare(app);
    kv_.declare(app, KvType::f16);
    threads_.declare(app);
    app.footer(
        "Ctrl-C ends an answer, Ctrl-D the chat; /help has the rest.\n"
        "Example:\n  lowbit chat out/llama-w4a4 --system 'You are terse.'");
  }

  Status run() override {
    threads_.apply();
    Result<std::vector<std::string>> stops = sampling_.checked_stops();
    if (!stops) return stops.error();
    const Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), model_);
    if (!model) return model.error();
    const Result<Tokenizer> tokenizer = Tokenizer::load(real_file_system(), model_);
    if (!tokenizer) return tokenizer.error();
    const Result<ChatTemplate> format = ChatTemplate::of(real_file_system(), model_, *tokenizer,
                                                         think_ ? Thinking::on : Thinking::off);
    if (!format) return format.error();
    options_.context = std::min(options_.context, model->spec().max_positions);
    options_.rule = sampling_.rule;
    options_.seed = sampling_.seed;
    options_.stops = *std::move(stops);
    Result<Engine> engine = Engine::load(
        *model, {.kv = kv_.type(*model), .cache_positions = whole_pages(options_.context)});
    if (!engine) return std::move(engine).error();
    Conversation conversation(*engine, *tokenizer, *format, options_);
    conversation.reset(system_);
    if (isatty(STDIN_FILENO) == 1) {
      fmt::print(stderr, "{}, the {} format; /help has the commands, Ctrl-D ends\n", model_,
                 format->name());
    }
    return talk(conversation);
  }

 private:
  Status talk(Conversation& conversation) {
    const std::unique_ptr<LineReader> lines = make_standard_reader();
    while (const std::optional<std::string> message = read_message(*lines)) {
      const ChatLine line = parse_chat_line(*message);
      switch (line.action) {
        case ChatAction::quit:
          return {};
        case ChatAction::nothing:
          break;
        case ChatAction::help:
          fmt::print("{}", chat_help());
          break;
        case ChatAction::unknown:
          fmt::print(stderr, "no command '{}'; /help lists them, two slashes say one\n", line.text);
          break;
        case ChatAction::system:
          system_ = line.text;
          conversation.reset(system_);
          break;
        case ChatAction::reset:
          conversation.reset(system_);
          break;
        case ChatAction::say:
          if (Status said = answer(conversation, line.text); !said) return said;
      }
    }
    return {};
  }

  Status answer(Conversation& conversation, const std::string& text) const {
    const Result<Answer> answer = conversation.say(text);
    if (!answer) {
      // What is wrong with one message is no reason to end the conversation.
      if (answer.error().kind != ErrorKind::usage) return answer.error();
      fmt::print(stderr, "lowbit: {}\n", answer.error().message);
      return {};
    }
    fmt::print("\n");
    std::fflush(stdout);
    if (answer->turns_dropped > 0) {
      fmt::print(stderr, "(the context is full: the oldest {} turns have left it)\n",
                 answer->turns_dropped);
    }
    if (stats_) {
      fmt::print(stderr, "({} tokens, {:.1f} tokens/s)\n", answer->tokens,
                 static_cast<double>(answer->tokens) / answer->seconds);
    }
    return {};
  }

  std::string model_, system_;
  bool think_ = false, stats_ = false;
  ConversationOptions options_;
  SamplingOption sampling_;
  KvOption kv_;
  ThreadsOption threads_;
};

}  // namespace

std::unique_ptr<Command> make_chat_command() { return std::make_unique<ChatCommand>(); }

}  // namespace lowbit
