// What the linears of a block get to see on the calibration text: the student's stream through the
// student's block.
#pragma once

#include <functional>
#include <vector>

#include "calib/pipeline.h"
#include "calib/student.h"

namespace lowbit {

// The linears of the block in sets that share an input: {q, k, v}, {o}, {gate, up}, {down}.
using LinearSet = std::vector<std::size_t>;
std::vector<LinearSet> input_sets(const BlockSpec& block);

struct InputQuery {
  std::vector<PlannedLinear> linears;  // how inputs are taken
  std::vector<Tensor> weights;         // of the forward pass, in BlockSpec::linears() order
  std::int64_t windows = 0;            // the first so many training windows; 0: all
  LinearSet wanted;                    // the linears that are asked about; empty: all
};
// The student's weights as they are, its inputs unquantized; `turned`: whether the rotate pass has
// turned its weights.
enum class Basis { source, turned };
InputQuery float_query(const BlockTask& task, std::int64_t windows, Basis basis);

// Passes windows through the block, without gradients. `measure` turns the input x [tokens, in]
// of linears that share it into what is kept of it, for several windows at a time; `take` gets that
// for each of these linears, one window after the other.
using Measured = std::vector<Tensor>;
void measure_inputs(const BlockTask& task, const InputQuery& query,
                    const std::function<Measured(const Tensor& x)>& measure,
                    const std::function<void(std::size_t linear, const Measured& found)>& take);

}  // namespace lowbit
