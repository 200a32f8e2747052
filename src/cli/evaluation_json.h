// An evaluation as JSON and back: what `eval` and `compare` write, and `compare` reads again.
#pragma once

#include "eval/evaluate.h"
#include "io/json.h"

namespace lowbit {

// Null stands for what was not measured and for what JSON has no number for.
OrderedJson evaluation_json(const Evaluation& evaluation);
// A null perplexity is infinite. "eval/bad-json" names the key that is missing or no number.
Result<Evaluation> read_evaluation(const OrderedJson& json);

}  // namespace lowbit
