// How the next token is drawn and where a text ends, as `run` and `chat` take it.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/sampler.h"

namespace lowbit {

struct SamplingOption {
  SamplingRule rule = {.temperature = 0.8, .top_k = 40};
  std::uint64_t seed = 42;
  std::vector<std::string> stops;  // as typed

  void declare(CLI::App& app);
  // The stop strings with their escapes read; "sampling/bad-rule", "run/bad-escape".
  Result<std::vector<std::string>> checked_stops() const;
};

// Text of a model to standard output at once. It must not steer a terminal.
void print_model_text(const std::string& text);

}  // namespace lowbit
