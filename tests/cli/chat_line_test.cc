#include "cli/chat_line.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sched.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <sstream>
#include <vector>

namespace lowbit {
namespace {

std::vector<std::string> messages_of(const std::string& input) {
  std::istringstream stream(input);
  const auto lines = make_plain_reader(stream);
  std::vector<std::string> messages;
  while (auto message = read_message(*lines)) messages.push_back(*message);
  return messages;
}

TEST(ChatLine, JoinsLinesThatEndInABackslash) {
  using Messages = std::vector<std::string>;
  EXPECT_EQ(messages_of("one\ntwo\\\nthree\\\n\nfour"), (Messages{"one", "two\nthree\n", "four"}));
  EXPECT_EQ(messages_of("cut\\"), Messages{"cut\n"});
  EXPECT_EQ(messages_of(""), Messages{});
}

TEST(ChatLine, TellsCommandsFromText) {
  const auto expect = [](std::string_view line, ChatAction action, std::string_view text = {}) {
    const ChatLine parsed = parse_chat_line(line);
    EXPECT_EQ(parsed.action, action) << line;
    EXPECT_EQ(parsed.text, text) << line;
  };
  expect("  hello /quit ", ChatAction::say, "  hello /quit ");
  expect("", ChatAction::nothing);
  expect(" \n\t", ChatAction::nothing);
  expect("/quit", ChatAction::quit);
  expect(" /reset \n", ChatAction::reset);
  expect("/help", ChatAction::help);
  expect("/system  Be brief. ", ChatAction::system, "Be brief.");
  expect("/system\nTwo\nlines", ChatAction::system, "Two\nlines");
  expect("/system", ChatAction::system);
  expect("/systems", ChatAction::unknown, "/systems");
  expect("/quit now", ChatAction::unknown, "/quit now");
  expect("/", ChatAction::unknown, "/");
  expect("//etc is a folder", ChatAction::say, "/etc is a folder");
}

// The editor shows its prompt just before it takes the terminal out of its line mode, in which keys
// would mean something else.
void await_prompt(int terminal, const std::string& prompt) {
  std::string shown;
  char byte = 0;
  while (!shown.ends_with(prompt) && read(terminal, &byte, 1) == 1) shown += byte;
  termios mode{};
  while (tcgetattr(terminal, &mode) == 0 && (mode.c_lflag & ICANON) != 0) sched_yield();
}

// What the editor reads when the keys are typed on a terminal, one line after the other; "EOF" at
// the end of the input. Prompts are numbered: one redrawn must not pass for the next.
std::vector<std::string> typed(const std::vector<std::string>& keys) {
  const auto prompt_of = [](std::size_t line) { return std::to_string(line) + "> "; };
  int terminal = -1;
  int result[2];
  if (pipe(result) != 0) return {};
  const pid_t child = forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    const auto editor = make_line_editor();
    for (std::size_t line = 0; line < keys.size(); ++line) {
      const std::string text = editor->read(prompt_of(line)).value_or("EOF") + '\n';
      if (write(result[1], text.data(), text.size()) < 0) _exit(1);
    }
    _exit(0);
  }
  close(result[1]);
  for (std::size_t line = 0; line < keys.size(); ++line) {
    await_prompt(terminal, prompt_of(line));
    if (write(terminal, keys[line].data(), keys[line].size()) < 0) break;
  }
  std::string all;
  char byte = 0;
  while (read(result[0], &byte, 1) == 1) all += byte;
  close(result[0]);
  close(terminal);
  waitpid(child, nullptr, 0);
  std::vector<std::string> lines;
  std::istringstream stream(all);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(LineEditor, EditsRecallsAndClears) {
  setenv("TERM", "vt100", 1);
  const std::string left = "\x02", up = "\x10";  // Ctrl-B, Ctrl-P
  const std::vector<std::string> lines =
      typed({"ac" + left + "b\n", "\u65E5\u672C\n", "wrong\x03right\n", up + up + "!\n", "\x04"});
  EXPECT_EQ(lines,
            (std::vector<std::string>{"abc", "\u65E5\u672C", "right", "\u65E5\u672C!", "EOF"}));
}

}  // namespace
}  // namespace lowbit
