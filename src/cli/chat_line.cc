#include "cli/chat_line.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>

#include "base/check.h"

namespace lowbit {
namespace {

constexpr int kHistoryLines = 1000;

class LineEditor : public LineReader {
 public:
  LineEditor() : editor_(el_init("lowbit", stdin, stdout, stderr)), history_(history_init()) {
    CHECK(editor_ != nullptr && history_ != nullptr);  // null for want of memory alone
    // All text here is UTF-8; in the "C" locale libedit would drop every byte above 127.
    std::setlocale(LC_CTYPE, "C.UTF-8");
    HistEvent event;
    history(history_.get(), &event, H_SETSIZE, kHistoryLines);
    history(history_.get(), &event, H_SETUNIQUE, 1);
    EditLine* editor = editor_.get();
    el_set(editor, EL_HIST, history, history_.get());
    el_set(editor, EL_CLIENTDATA, this);
    el_set(editor, EL_PROMPT, &LineEditor::prompt_of);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_SIGNAL, 1);  // follows a change of the window's size
    // Only while a line is edited Ctrl-C is a key; otherwise it stays the signal that interrupts.
    el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
    el_set(editor, EL_BIND, "^C", "em-kill-line", nullptr);
  }

  std::optional<std::string> read(const std::string& prompt) override {
    prompt_ = prompt;
    int size = 0;
    const char* typed = el_gets(editor_.get(), &size);
    if (typed == nullptr || size <= 0) return std::nullopt;
    std::string line(typed, static_cast<std::size_t>(size));
    if (line.ends_with('\n')) line.pop_back();
    HistEvent event;
    if (!line.empty()) history(history_.get(), &event, H_ENTER, line.c_str());
    return line;
  }

 private:
  static char* prompt_of(EditLine* editor) {
    void* self = nullptr;
    el_get(editor, EL_CLIENTDATA, &self);
    return static_cast<LineEditor*>(self)->prompt_.data();
  }

  struct End {
    void operator()(EditLine* editor) const { el_end(editor); }
    void operator()(History* lines) const { history_end(lines); }
  };
  std::unique_ptr<EditLine, End> editor_;
  std::unique_ptr<History, End> history_;
  std::string prompt_;
};

class PlainReader : public LineReader {
 public:
  explicit PlainReader(std::istream& input) : input_(input) {}
  std::optional<std::string> read(const std::string& /*prompt*/) override {
    std::string line;
    if (!std::getline(input_, line)) return std::nullopt;
    return line;
  }

 private:
  std::istream& input_;
};

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

}  // namespace

std::unique_ptr<LineReader> make_line_editor() { return std::make_unique<LineEditor>(); }

std::unique_ptr<LineReader> make_plain_reader(std::istream& input) {
  return std::make_unique<PlainReader>(input);
}

std::unique_ptr<LineReader> make_standard_reader() {
  const bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
  return terminal ? make_line_editor() : make_plain_reader(std::cin);
}

std::optional<std::string> read_message(LineReader& lines) {
  std::optional<std::string> message = lines.read("> ");
  while (message && message->ends_with('\\')) {
    message->back() = '\n';
    const std::optional<std::string> next = lines.read("| ");
    if (!next) break;
    *message += *next;
  }
  return message;
}

ChatLine parse_chat_line(std::string_view message) {
  const std::string_view text = trimmed(message);
  if (text.empty()) return {ChatAction::nothing};
  if (text.starts_with("//")) return {ChatAction::say, std::string(text.substr(1))};
  if (text[0] != '/') return {ChatAction::say, std::string(message)};
  const std::string_view name = text.substr(0, text.find_first_of(" \t\n"));
  const std::string_view rest = trimmed(text.substr(name.size()));
  if (name == "/system") return {ChatAction::system, std::string(rest)};
  if (rest.empty()) {
    if (name == "/quit") return {ChatAction::quit};
    if (name == "/reset") return {ChatAction::reset};
    if (name == "/help") return {ChatAction::help};
  }
  return {ChatAction::unknown, std::string(text)};
}

std::string_view chat_help() {
  return "/reset         forget the conversation\n"
         "/system TEXT   begin anew with this system message; without TEXT, with none\n"
         "/help          show this\n"
         "/quit          end; so does Ctrl-D\n"
         "A backslash at the end of a line continues it on the next; // at the beginning says /.\n"
         "Ctrl-C clears the line.\n";
}

}  // namespace lowbit
