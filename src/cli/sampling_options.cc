#include "cli/sampling_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "cli/printable.h"

namespace lowbit {
namespace {

// A line break cannot be typed into every shell's argument.
Result<std::string> unescaped(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\') {
      result += text[at];
      continue;
    }
    const char escape = ++at < text.size() ? text[at] : ' ';
    if (escape != 'n' && escape != 't' && escape != '\\') {
      return usage_error(
          "run/bad-escape",
          fmt::format("a backslash at byte {} is not followed by n, t or a backslash; "
                      "write two for one",
                      at - 1));
    }
    result += escape == 'n' ? '\n' : escape == 't' ? '\t' : '\\';
  }
  return result;
}

}  // namespace

void SamplingOption::declare(CLI::App& app) {
  app.add_option("--temperature", rule.temperature, "0: always the likeliest token")
      ->capture_default_str();
  app.add_option("--top-k", rule.top_k, "Draw from the k likeliest tokens; 0: from all")
      ->capture_default_str();
  app.add_option("--top-p", rule.top_p,
                 "Draw from the likeliest tokens that together have this probability; 1: from all")
      ->capture_default_str();
  app.add_option("--min-p", rule.min_p,
                 "Draw from tokens with this share of the likeliest one's probability; 0: from all")
      ->capture_default_str();
  app.add_option("--repetition-penalty", rule.repetition_penalty,
                 "Over 1: makes tokens that were there before less likely")
      ->capture_default_str();
  app.add_option(
         "--stop", stops,
         "End before this text; may be repeated. \\n, \\t and \\\\ are a line break, a tab and "
         "a backslash")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--seed", seed, "Seed of the draws")->capture_default_str();
}

Result<std::vector<std::string>> SamplingOption::checked_stops() const {
  if (Status status = check(rule); !status) return std::move(status).error();
  std::vector<std::string> texts;
  for (const std::string& stop : stops) {
    Result<std::string> text = unescaped(stop);
    if (!text) return within("--stop", text.error());
    texts.push_back(*std::move(text));
  }
  return texts;
}

void print_model_text(const std::string& text) {
  static const bool kTerminal = isatty(STDOUT_FILENO) == 1;
  fmt::print("{}", kTerminal ? printable(text) : text);
  std::fflush(stdout);
}

}  // namespace lowbit
