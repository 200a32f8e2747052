// What subcommands share in printing: sizes, durations, JSON.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/json.h"

namespace lowbit {

std::string size_text(std::uint64_t bytes);  // "12.3 MB"
std::string duration_text(double seconds);   // "4.2 s", "3 min 05 s"

// A line on standard error for each; `place`: what it is about, "block 3: ".
void print_notices(const std::vector<std::string>& notices, const std::string& place);

// `--json [FILE]`: as JSON to a file, or alone on standard output.
struct JsonOutput {
  std::string file;  // empty: not asked for; "-": standard output

  void declare(CLI::App& app);
  bool replaces_table() const { return file == "-"; }
  Status write(const OrderedJson& document) const;  // nothing when not asked for
};

// A number, or null where JSON has none (a perplexity may be infinite).
OrderedJson number_or_null(double value);

}  // namespace lowbit
