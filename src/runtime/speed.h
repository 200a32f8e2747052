// How fast a resident model takes a prompt and gives tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/engine.h"

namespace lowbit {

struct SpeedOptions {
  std::int64_t prompt = 512;  // tokens of each sequence
  std::int64_t output = 32;   // tokens that each is extended by, greedily, one at a time
  std::int64_t batch = 1;     // sequences
  int repeats = 3;

  std::int64_t cache_positions() const { return batch * whole_pages(prompt + output); }
};

struct Speed {
  // A value a repeat. Tokens of all sequences together; a prompt's time ends with its first token.
  std::vector<double> prompt_tokens_per_second;
  std::vector<double> output_tokens_per_second;
  std::vector<double> output_bytes_per_second;  // weights once a step, and the caches
};

// Errors: "speed/bad-option" and those of Engine::extend.
Result<Speed> measure_speed(Engine& engine, const SpeedOptions& options,
                            const ReferenceModel::Progress& on_step);

double median(std::vector<double> values);  // of at least one

}  // namespace lowbit
