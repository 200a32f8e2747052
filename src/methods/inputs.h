// What the linears of a block get to see on the calibration text: the student's stream through the
// student's block, and beside it, where asked, the float stream through the float block.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "calib/pipeline.h"
#include "calib/student.h"

namespace lowbit {

struct InputQuery {
  std::vector<PlannedLinear> linears;  // how inputs are taken
  std::vector<Tensor> weights;         // of the forward pass, in BlockSpec::linears() order
  std::int64_t windows = 0;            // the first so many training windows; 0: all
  LinearSet wanted;                    // the linears that are asked about, in order
  // Of the float pass, likewise; empty: there is none. Else the task has teacher_inputs.
  std::vector<Tensor> teacher_weights = {};
};
// The student's weights as they are, its inputs unquantized; `turned`: whether the rotate pass has
// turned its weights.
enum class Basis { source, turned };
InputQuery float_query(const BlockTask& task, std::int64_t windows, Basis basis);

// How many windows `windows` of a query stands for.
std::int64_t asked_windows(const BlockTask& task, std::int64_t windows);
// About `count` tokens of x [tokens, in], as far apart as they can be; a copy.
Tensor sampled_tokens(const Tensor& x, std::int64_t count);

// "quantize/non-finite": of a linear whose inputs are not finite.
Error non_finite_inputs(const std::string& linear);

// Passes windows through the block, without gradients. `measure` turns the input x [tokens, in]
// of linears that share it into what is kept of it, for several windows at a time; `take` gets that
// with these linears, one window after the other.
using Measured = std::vector<Tensor>;
void measure_inputs(
    const BlockTask& task, const InputQuery& query,
    const std::function<Measured(const Tensor& x)>& measure,
    const std::function<void(std::span<const std::size_t> alike, const Measured& found)>& take);

// The input of linears that share it, on one window.
struct SeenInput {
  Tensor x;        // [tokens, in], as their products take it
  Tensor teacher;  // [tokens, in], of the float pass: the same window's tokens in the same basis,
                   // never quantized; undefined without teacher_weights
  std::int64_t window = 0;
};
// As measure_inputs. A float pass costs as much again, and keeps the wanted inputs of one window.
void measure_seen(
    const BlockTask& task, const InputQuery& query,
    const std::function<Measured(const SeenInput& seen)>& measure,
    const std::function<void(std::span<const std::size_t> alike, const Measured& found)>& take);

}  // namespace lowbit
