// The block pipeline: a plan, calibration windows and passes in, a packed checkpoint out.
//
// First what no block owns, its tables packed: the student's stream begins with the packed
// embedding. Then block by block: the teacher's outputs on the float stream, the passes on the
// student's stream, pack, write aside, sync, rename, journal; then the student's stream moves on
// through the packed weights. One block is resident. Where the recipe tunes the whole model, these
// blocks are drafts: all of them, packed, then go through one more pass. The same command after a
// kill continues after the last finished block and ends with the same bytes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "calib/block.h"
#include "calib/fake_quant.h"
#include "calib/head.h"
#include "calib/quantize.h"
#include "calib/stream.h"
#include "calib/table.h"
#include "recipe/plan.h"

namespace lowbit {

// What the passes work on: one block, its windows, and the parameters they choose.
struct BlockTask {
  // Its weights are those that are rounded, each in the basis of its linear's input transform.
  // Passes may replace them, gains of norms and biases; a pass leaves the block's function as it
  // found it, but for what it learns.
  TorchBlock& student;
  // Passes may choose clip, scale and, between token and tensor, per of the activations, factors of
  // transforms, low-rank pairs, and nothing else.
  std::vector<PlannedLinear>& linears;
  std::vector<GroupParameters> parameters;  // one for each linear; undefined until a range pass

  const HiddenStream& inputs;   // the student's: what already quantized blocks put out
  const HiddenStream& targets;  // the teacher's outputs of this block
  // What the teacher's block got for these, the training windows alone; null unless the passes ask.
  const HiddenStream* teacher_inputs = nullptr;
  std::int64_t train_windows;  // the first so many windows; the others validate
  at::Device device;
  std::int64_t head_dim;

  BlockReport& report;
  std::function<Status(double fraction, const std::string& detail)> on_step;  // of this block, 0..1
};

using BlockPass = std::function<Status(BlockTask& task)>;

// What a pass over the whole packed model works on, after the last block.
struct TunedBlock {
  TorchBlock student;  // norms and biases as packed, which the pass may change; no packed weights
  const std::vector<PlannedLinear>& linears;
  std::vector<std::optional<GroupAffineWeight>> packed;  // the pass may change scales
};

struct ModelTask {
  std::vector<TunedBlock>& blocks;
  const TorchHead& head;         // the packed model's
  const TorchHead& source_head;  // of the float model
  const HiddenStream& inputs;    // of the first block, from the packed embedding
  const HiddenStream& targets;   // what the source's last block puts out
  std::int64_t train_windows;    // the first so many windows; the others validate
  at::Device device;

  TuneReport& report;
  // Gains and biases in the types that the packed model keeps them in.
  std::function<Result<TorchBlock::Floats>(TorchBlock::Floats)> as_stored;
  std::function<Status(double fraction, const std::string& detail)> on_step;  // of this pass, 0..1
};

using ModelPass = std::function<Status(ModelTask& task)>;

struct PipelinePasses {
  std::vector<BlockPass> block;  // in order, on every block
  ModelPass model = {};          // where the recipe tunes, after them; else empty
  TableRange table;
  // Whether a pass looks at BlockTask::teacher_inputs: a third stream, of the training windows, in
  // memory (or on disk, where the others are).
  bool teacher_inputs = false;
};

Result<QuantizeReport> run_pipeline(const Checkpoint& checkpoint, const Plan& plan,
                                    const CalibrationWindows& windows,
                                    const QuantizeOptions& options, const PipelinePasses& passes);

// The digest that the output of this run carries once it is complete (LowbitInfo::run).
Result<std::string> run_digest(const Checkpoint& checkpoint, const Plan& plan,
                               const QuantizeOptions& options);

}  // namespace lowbit
