// The terminal's side of a chat: what the user types, and which of it are commands.
#pragma once

#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lowbit {

class LineReader {
 public:
  virtual ~LineReader() = default;
  // Without its line break; none at the end of the input (Ctrl-D on an empty line).
  virtual std::optional<std::string> read(const std::string& prompt) = 0;
};

// With editing and a history of this run: Ctrl-C clears the line. For a standard input and output
// that are terminals. Sets the process's character type to UTF-8. One at a time.
std::unique_ptr<LineReader> make_line_editor();
// As the lines come, without a prompt; the stream must outlive it.
std::unique_ptr<LineReader> make_plain_reader(std::istream& input);
// The first where standard input and output are terminals, else the second.
std::unique_ptr<LineReader> make_standard_reader();

// One message: a line, and as long as it ends in a backslash, the next after a line break.
std::optional<std::string> read_message(LineReader& lines);

enum class ChatAction { say, nothing, quit, reset, system, help, unknown };

struct ChatLine {
  ChatAction action = ChatAction::say;
  std::string text = {};  // what is said; the system message, empty for none; the unknown command
};

// A message that begins with a slash is a command; two slashes say one.
ChatLine parse_chat_line(std::string_view message);
std::string_view chat_help();

}  // namespace lowbit
