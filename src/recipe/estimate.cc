#include "recipe/estimate.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/threads.h"

namespace lowbit {
namespace {

constexpr std::uint64_t kFloatBytes = 4;
constexpr std::uint64_t kHeaderBytesPerTensor = 128;

// The program with LibTorch, its thread pools and allocator slack; without learning, the program
// alone.
constexpr std::uint64_t kLearnBaseBytes = 320'000'000;
constexpr std::uint64_t kPlainBaseBytes = 48'000'000;

// Rough speeds of one core of a current server processor; an estimate of time is within a factor of
// two.
constexpr double kFlopsPerThread = 1e11;
constexpr double kExponentialsPerThread = 1.2e9;
constexpr double kRoundedWeightsPerThread = 3e7;
constexpr double kSearchedWeightsPerThread = 1e7;

// Values of a table that are in float32 at a time (calib/table.cc), a few copies of each.
constexpr std::uint64_t kTableRunBytes = 4 * kFloatBytes << 22;

struct BlockSize {
  std::uint64_t weights = 0;  // of the linears
  std::uint64_t largest = 0;  // of one linear
  std::uint64_t widest_input = 0;
};

BlockSize size_of(const PlannedBlock& block) {
  BlockSize size;
  for (const PlannedLinear& planned : block.linears) {
    const auto weights = static_cast<std::uint64_t>(planned.linear.out * planned.linear.in);
    size.weights += weights;
    size.largest = std::max(size.largest, weights);
    size.widest_input = std::max(size.widest_input, static_cast<std::uint64_t>(planned.linear.in));
  }
  return size;
}

BlockSize largest_block(const Plan& plan) {
  BlockSize largest;
  for (const PlannedBlock& block : plan.blocks) {
    const BlockSize size = size_of(block);
    if (size.weights > largest.weights) largest = size;
  }
  return largest;
}

// Files that go into the output as they are: tokenizer, generation and chat files.
bool is_copied(std::string_view file) {
  constexpr std::array<std::string_view, 9> kNames = {
      "tokenizer",         "vocab",         "merges", "special_tokens", "added_tokens",
      "generation_config", "chat_template", "spiece", "LICENSE"};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view name) { return file.starts_with(name); });
}

Result<std::uint64_t> other_files_bytes(const Checkpoint& checkpoint) {
  FileSystem& files = checkpoint.files();
  const Result<std::vector<std::string>> names = files.list(checkpoint.folder());
  if (!names) return names.error();
  std::uint64_t total = 0;
  for (const std::string& file : *names) {
    if (!is_copied(file)) continue;
    const Result<FileInfo> info = files.info(checkpoint.folder() / file);
    if (!info) return info.error();
    total += info->size_bytes;
  }
  return total;
}

// The tensors of the output: those of the source as they are, but quantized weights in their packed
// form.
struct OutputSize {
  std::uint64_t bytes = 0;
  std::uint64_t tensors = 0;

  static OutputSize of_source(const Checkpoint& checkpoint) {
    OutputSize size;
    for (const SafetensorsFile& shard : checkpoint.shards()) {
      for (const TensorInfo& tensor : shard.tensors()) size.bytes += tensor.size_bytes();
      size.tensors += shard.tensors().size();
    }
    return size;
  }

  // Puts the stored form of a weight in the place of its float tensor; returns its bits.
  Result<std::uint64_t> replace(const Checkpoint& checkpoint, const LinearSpec& linear,
                                const LinearScheme& scheme) {
    const Result<Checkpoint::Tensor> source = checkpoint.tensor(linear.name + ".weight");
    if (!source) return source.error();
    const std::uint64_t stored = stored_bits(linear, scheme, source->info->dtype);
    bytes += stored / 8;
    bytes -= source->info->size_bytes();
    if (scheme.weight.quantized()) {
      tensors +=
          stored_parts(scheme.weight).size() + stored_input_parts(linear.name, scheme).size() - 1;
    }
    return stored;
  }
};

Status estimate_output(Plan& plan, const Checkpoint& checkpoint) {
  OutputSize size = OutputSize::of_source(checkpoint);
  double bits = 0;
  double weights = 0;
  for (const PlannedBlock& block : plan.blocks) {
    for (const PlannedLinear& planned : block.linears) {
      const Result<std::uint64_t> stored = size.replace(checkpoint, planned.linear, planned.scheme);
      if (!stored) return stored.error();
      bits += static_cast<double>(*stored);
      weights += static_cast<double>(planned.linear.out * planned.linear.in);
    }
  }
  for (PlannedTable& table : plan.tables) {
    const Result<std::uint64_t> stored = size.replace(checkpoint, table.linear, table.scheme);
    if (!stored) return stored.error();
    table.stored_bytes = *stored / 8;
  }
  const Result<std::uint64_t> others = other_files_bytes(checkpoint);
  if (!others) return others.error();
  plan.bits_per_weight = weights > 0 ? bits / weights : 0;
  plan.output_bytes = size.bytes + size.tensors * kHeaderBytesPerTensor + *others +
                      checkpoint.config().dump(2).size();
  return {};
}

// Two, the teacher's and the student's, and the teacher's inputs where passes ask for them.
std::uint64_t streams_bytes(const Plan& plan) {
  const CalibrationSpec& text = plan.recipe.calibration;
  const std::int64_t third = plan.recipe.needs_teacher_inputs() ? text.windows : 0;
  return static_cast<std::uint64_t>(2 * (text.windows + text.validation_windows) + third) *
         static_cast<std::uint64_t>(text.length) * static_cast<std::uint64_t>(plan.model.hidden) *
         kFloatBytes;
}

// Learning holds, beside the two streams (teacher's and student's):
//   weights: the block in float32 five times: teacher, student, fake-quantized, its gradient, and
//   one
//            for rounding's intermediate values;
//   activations of one step, float32: per token about 24 hidden widths, 8 widest inputs, and
//   attention
//            probabilities and scores with their gradients, 4 x heads x length;
//   loss: six length x length buffers of the relation and Sinkhorn terms, for each window of a
//   batch; trained weights: a copy of theirs, two moments, the best state and a
//   window's gradient; of a larger batch, a gradient for each window more.
// Mapped weights are not counted: the system takes those pages back when it needs them.
// Learned transforms: all that lies between weights and inputs as they are and as they are
// quantized, and for each weight a gradient of each window.
std::uint64_t learning_bytes(const Plan& plan) {
  const BlockSize block = largest_block(plan);
  const auto length = static_cast<std::uint64_t>(plan.recipe.calibration.length);
  const std::uint64_t per_token = 24 * static_cast<std::uint64_t>(plan.model.hidden) +
                                  8 * block.widest_input +
                                  4 * static_cast<std::uint64_t>(plan.model.heads) * length;
  std::uint64_t step = 0;
  std::uint64_t copies = 5;
  for (const TransformTraining& training : plan.recipe.learned_transforms()) {
    const auto batch = static_cast<std::uint64_t>(training.batch);
    const std::uint64_t inputs =
        5 * (3 * static_cast<std::uint64_t>(plan.model.hidden) + block.widest_input);
    step = std::max(step, length * batch * (per_token + inputs) * kFloatBytes);
    copies = std::max(copies, batch + 9);
  }
  for (const LearnSpec& learn : plan.recipe.learn) {
    const auto tokens = length * static_cast<std::uint64_t>(learn.batch);
    const auto relation = learn.relation_tokens > 0
                              ? std::min(length, static_cast<std::uint64_t>(learn.relation_tokens))
                              : length;
    const bool relates = learn.token_relation > 0 || learn.sinkhorn > 0;
    const std::uint64_t loss = relates ? 6 * relation * relation : 0;
    const std::uint64_t losses = loss * static_cast<std::uint64_t>(learn.batch);
    step = std::max(step, (tokens * per_token + losses) * kFloatBytes);
    const bool moves_weights =
        learn.weight_rate > 0 || learn.code_rate > 0 || learn.rounding_rate > 0;
    copies =
        std::max(copies, (moves_weights ? 10 : 5) + static_cast<std::uint64_t>(learn.batch) - 1);
  }
  return copies * block.weights * kFloatBytes + step;
}

// A solver's matrices for the widest input: the sums, their factors in double, and what the windows
// in work add; as much again for the float stream's moments, and that stream's inputs of a window.
std::uint64_t solving_bytes(const Plan& plan) {
  if (!plan.recipe.takes_moments()) return 0;
  const BlockSize block = largest_block(plan);
  const auto in_work = 2 * static_cast<std::uint64_t>(thread_count());
  const std::uint64_t matrices =
      block.widest_input * block.widest_input * (6 * sizeof(double) + in_work * kFloatBytes);
  const std::uint64_t weights = 3 * block.weights * kFloatBytes;
  if (!plan.recipe.solve.needs_teacher_inputs()) return matrices + weights;
  const auto length = static_cast<std::uint64_t>(plan.recipe.calibration.length);
  return 2 * matrices + weights + in_work * length * block.widest_input * kFloatBytes;
}

// The largest weight's error in double, its decomposition, and what that works with.
std::uint64_t pairing_bytes(const Plan& plan) {
  return plan.recipe.adds_low_rank() ? 10 * largest_block(plan).largest * sizeof(double) : 0;
}

// The pass through the whole model: codes of all blocks as bytes, twice, one block decoded with its
// gradients, the inputs of every block for a batch, the heads and the logits of 256 tokens of each
// window in work, some copies of them.
std::uint64_t tuning_bytes(const Plan& plan) {
  const TuneSpec& tune = plan.recipe.tune;
  if (tune.method == TuneMethod::none) return 0;
  std::uint64_t weights = 0;
  for (const PlannedBlock& block : plan.blocks) weights += size_of(block).weights;
  const auto hidden = static_cast<std::uint64_t>(plan.model.hidden);
  const auto vocabulary = static_cast<std::uint64_t>(plan.model.vocabulary);
  const auto batch = static_cast<std::uint64_t>(tune.batch);
  const auto length = static_cast<std::uint64_t>(plan.recipe.calibration.length);
  const std::uint64_t inputs =
      batch * length * hidden * static_cast<std::uint64_t>(plan.model.blocks + 1);
  const std::uint64_t logits = 6 * 256 * vocabulary * batch;
  const std::uint64_t block = (3 + batch) * largest_block(plan).weights;
  const std::uint64_t trained = tune.code_rate > 0 ? 5 * kFloatBytes * weights : 0;
  return 2 * weights + trained + (block + inputs + 2 * vocabulary * hidden + logits) * kFloatBytes;
}

// Tables are packed before the first block and stay, packed, until their shard is written.
std::uint64_t tables_bytes(const Plan& plan) {
  std::uint64_t packed = 0;
  for (const PlannedTable& table : plan.tables) {
    if (table.scheme.weight.quantized()) packed += table.stored_bytes;
  }
  return packed > 0 ? packed + kTableRunBytes : 0;
}

void estimate_memory(Plan& plan, const PlanOptions& options) {
  const BlockSize block = largest_block(plan);
  // One linear in float32 with its codes and the block's packed tensors, about 2 bytes a weight.
  const std::uint64_t rounding = block.largest * 2 * kFloatBytes + block.weights * 2;
  plan.scratch_disk_bytes = 0;
  if (!plan.recipe.needs_calibration()) {
    plan.peak_memory_bytes =
        kPlainBaseBytes + std::max(rounding + pairing_bytes(plan), tables_bytes(plan));
    return;
  }
  const std::uint64_t streams = streams_bytes(plan);
  plan.peak_memory_bytes = kLearnBaseBytes + std::max({learning_bytes(plan) + rounding,
                                                       solving_bytes(plan) + pairing_bytes(plan),
                                                       tuning_bytes(plan), tables_bytes(plan)});
  if (plan.recipe.tune.method != TuneMethod::none) plan.scratch_disk_bytes = plan.output_bytes;
  (options.streams_on_disk ? plan.scratch_disk_bytes : plan.peak_memory_bytes) += streams;
}

// Of one thread.
double range_seconds_per_weight(const Recipe& recipe) {
  if (recipe.weights.format != WeightFormat::integer && recipe.range != RangeMethod::min_max) {
    return (recipe.weights.bits == 8 ? 5 : 2) / kSearchedWeightsPerThread;
  }
  switch (recipe.range) {
    case RangeMethod::min_max:
      break;  // within the rounding
    case RangeMethod::importance_search:
    case RangeMethod::percentile:
      return 1 / kSearchedWeightsPerThread;
    case RangeMethod::hqq:
      return 5 / kSearchedWeightsPerThread;
    case RangeMethod::mse_search:
      return 10 / kSearchedWeightsPerThread;
  }
  return 0;
}

// Of the singular values of every weight's error: decompositions in double take as long as 60 n^3
// operations of a product (2048 x 2048 on two threads: 2.4 seconds).
double decomposition_flops(const Plan& plan) {
  double flops = 0;
  for (const PlannedBlock& block : plan.blocks) {
    for (const PlannedLinear& planned : block.linears) {
      if (!planned.scheme.low_rank.any()) continue;
      const auto smaller = static_cast<double>(std::min(planned.linear.out, planned.linear.in));
      flops += 60 * smaller * static_cast<double>(planned.linear.out * planned.linear.in);
    }
  }
  return flops;
}

// Passes over the windows for a block, in forward passes: the teacher once, the solver's, the
// student once to
// move on, per epoch a forward and a backward (2) on training windows, and validation before and
// after.
void estimate_time(Plan& plan) {
  const double threads = thread_count();
  double weights = 0;
  for (const PlannedBlock& block : plan.blocks)
    weights += static_cast<double>(size_of(block).weights);
  plan.seconds = weights / (kRoundedWeightsPerThread * threads);
  for (const PlannedTable& table : plan.tables) {
    if (!table.scheme.weight.quantized()) continue;
    plan.seconds += static_cast<double>(table.linear.out * table.linear.in) /
                    (kSearchedWeightsPerThread * threads);
  }
  plan.seconds += weights * range_seconds_per_weight(plan.recipe) / threads;
  if (plan.recipe.adds_low_rank()) {
    plan.seconds += static_cast<double>(plan.recipe.low_rank.rounds) * decomposition_flops(plan) /
                    (kFlopsPerThread * threads);
  }
  if (!plan.recipe.needs_calibration()) return;

  const CalibrationSpec& text = plan.recipe.calibration;
  const double length = static_cast<double>(text.length);
  const double train = static_cast<double>(text.windows);
  const double validation = static_cast<double>(text.validation_windows);
  const double attention =  // of half the keys: what comes later is hidden
      static_cast<double>(plan.model.blocks * plan.model.heads * plan.model.head_dim) * length;
  const double window_flops = 2.0 * length * (weights + attention);
  double forwards = 2 * (train + validation);
  double flops = 0;
  for (const TransformTraining& training : plan.recipe.learned_transforms()) {
    const double seen =
        training.windows > 0 ? std::min(train, static_cast<double>(training.windows)) : train;
    forwards += 3 * static_cast<double>(training.epochs) * seen + 2 * validation;
  }
  if (plan.recipe.searches_clips()) {  // 16 windows, and nine ratios on a sample
    forwards += std::min(train, 16.0);
    flops += 9 * 2.0 * weights * std::min(2048.0, train * length);
  }
  if (const SolveSpec& solve = plan.recipe.solve; plan.recipe.takes_moments()) {
    const double seen =
        solve.windows > 0 ? std::min(train, static_cast<double>(solve.windows)) : train;
    // one for each of four sets, three of which end before the block does; as many in float
    forwards += (solve.needs_teacher_inputs() ? 4 : 2) * seen;
    const double width = static_cast<double>(plan.model.hidden);
    const double inner = static_cast<double>(plan.model.ffn);
    flops += 2.0 * seen * length * static_cast<double>(plan.model.blocks) *
             (3 * width * width + inner * inner);
  }
  if (plan.recipe.corrects_biases()) forwards += 2 * 4 * std::min(train, 32.0);  // as the solver
  double exponentials = 0;
  for (const LearnSpec& learn : plan.recipe.learn) {
    forwards += static_cast<double>(learn.epochs) * (3 * train + validation) + validation;
    if (learn.sinkhorn <= 0 && learn.token_relation <= 0) continue;
    const double relation =
        learn.relation_tokens > 0 ? static_cast<double>(learn.relation_tokens) : length;
    const double pairs = static_cast<double>(learn.epochs * plan.model.blocks) *
                         (train + validation) * relation * relation;
    flops += pairs * 10.0 * static_cast<double>(plan.model.hidden);  // five Gram-sized products
    if (learn.sinkhorn > 0) exponentials += pairs * 40.0;  // ten rounds of four soft minima
  }
  if (const TuneSpec& tune = plan.recipe.tune; tune.method != TuneMethod::none) {
    const double epochs = static_cast<double>(tune.epochs);
    forwards += epochs * (4 * train + validation) + 2 * validation;
    flops += 2.0 * length * static_cast<double>(plan.model.vocabulary * plan.model.hidden) *
             (epochs * (3 * train + 2 * validation) + 4 * validation);
  }
  flops += forwards * window_flops;
  plan.seconds += (flops / kFlopsPerThread + exponentials / kExponentialsPerThread) / threads;
}

}  // namespace

std::uint64_t stored_bits(const LinearSpec& linear, const LinearScheme& scheme, DType float_type) {
  if (!scheme.weight.quantized()) {
    return static_cast<std::uint64_t>(linear.out) * static_cast<std::uint64_t>(linear.in) *
           size_bytes(float_type) * 8;
  }
  const DType scales = scale_type_of(scheme.weight.format, {});
  const auto bits =
      static_cast<std::uint64_t>(stored_bits(scheme.weight, linear.out, linear.in, scales));
  const auto [left, right] = scheme.transform.kronecker;
  const bool has_factors = scheme.transform.stored_with == linear.name;
  const std::int64_t factors = has_factors ? left * left + right * right : 0;
  const std::int64_t pair = scheme.low_rank.rank * (linear.out + linear.in);
  return bits + (scheme.activation.stores_scale() ? 32 : 0) +
         static_cast<std::uint64_t>(16 * (factors + pair));
}

Status estimate(Plan& plan, const Checkpoint& checkpoint, const PlanOptions& options) {
  const Status output = estimate_output(plan, checkpoint);
  if (!output) return output;
  estimate_memory(plan, options);
  estimate_time(plan);
  return {};
}

}  // namespace lowbit
