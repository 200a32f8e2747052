#include "calib/pipeline.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <sstream>

#include "base/half_float.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/threads.h"
#include "calib/output_folder.h"
#include "calib/report_json.h"
#include "calib/student.h"
#include "calib/windows.h"
#include "runtime/embedding.h"

namespace lowbit {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Each key of the recipe with its value; passes are numbered, as they may repeat.
Journal::Inputs recipe_inputs(const Recipe& recipe) {
  Journal::Inputs inputs;
  std::istringstream lines(to_toml(recipe));
  std::string line;
  std::string section;
  int pass = 0;
  while (std::getline(lines, line)) {
    if (line.starts_with("[[")) section = fmt::format("pass {} ", ++pass);
    const std::size_t equals = line.find(" = ");
    if (equals == std::string::npos) continue;
    inputs.emplace_back("recipe " + section + line.substr(0, equals), line.substr(equals + 3));
  }
  return inputs;
}

// Everything that decides the output, named; the journal refuses another one by name.
Result<Journal::Inputs> run_inputs(const Checkpoint& checkpoint, const Plan& plan,
                                   const QuantizeOptions& options) {
  Journal::Inputs inputs;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    auto bytes = checkpoint.files().map(shard.path());
    if (!bytes) return bytes.error();
    inputs.emplace_back("weights " + shard.path().filename().string(),
                        sha256_hex((*bytes)->bytes()));
  }
  inputs.emplace_back("config.json", sha256_hex(checkpoint.config().dump()));
  for (auto& input : recipe_inputs(plan.recipe)) inputs.push_back(std::move(input));
  for (const auto& input : options.inputs) inputs.push_back(input);
  inputs.emplace_back("device", options.device);
  inputs.emplace_back("threads", std::to_string(thread_count()));
  return inputs;
}

// Tensors of some MiB come and go a thousand times a block; by default each is mapped and unmapped,
// and its pages cleared again by the kernel.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

constexpr double kBlocksShare = 0.7;  // of a run whose whole model is tuned, for the progress

class Pipeline {
 public:
  Pipeline(const Checkpoint& checkpoint, const Plan& plan, const QuantizeOptions& options,
           const PipelinePasses& passes, at::Device device, OutputFolder output)
      : checkpoint_(checkpoint),
        plan_(plan),
        options_(options),
        passes_(passes),
        device_(device),
        output_(std::move(output)) {}

  Result<QuantizeReport> run(const CalibrationWindows& windows) {
    const Clock::time_point start = Clock::now();
    QuantizeReport report;
    if (auto status = write_tables(); !status) return status.error();
    if (auto status = embed_windows(windows); !status) return status.error();
    for (std::int64_t block = 0; block < plan_.model.blocks; ++block) {
      auto done = run_block(block);
      if (!done) return done.error();
      report.blocks.push_back(std::move(*done));
    }
    if (passes_.model) {
      auto tuned = tune(windows);
      if (!tuned) return tuned.error();
      report.tune = std::move(*tuned);
    }
    auto finished = output_.finish(plan_.quantization(), report_text(report));
    if (!finished) return finished.error();
    auto bytes = output_.size_bytes();
    if (!bytes) return bytes.error();
    report.output_bytes = *bytes;
    report.bits_per_weight = plan_.bits_per_weight;
    report.seconds = seconds_since(start);
    return report;
  }

 private:
  // No times in it: a resumed run writes the same bytes.
  std::string report_text(const QuantizeReport& report) const {
    OrderedJson blocks = OrderedJson::array();
    for (const BlockReport& block : report.blocks) blocks.push_back(to_json(block));
    OrderedJson json = {{"recipe", to_toml(plan_.recipe)},
                        {"bits_per_weight", plan_.bits_per_weight},
                        {"plan_notices", plan_.notices},
                        {"blocks", blocks}};
    if (report.tune) json["tune"] = to_json(*report.tune);
    return json.dump(2) + "\n";
  }

  Status write_tables() {
    return output_.write_rest([this](const PlannedTable& table) {
      const std::string& name = table.linear.name;
      return pack_table(checkpoint_, table, passes_.table, [&](double fraction) {
        return step(0.0, name, fmt::format("{:.0f} %", 100 * fraction));
      });
    });
  }

  static std::vector<std::vector<TokenId>> all_of(const CalibrationWindows& windows) {
    std::vector<std::vector<TokenId>> all = windows.train;
    all.insert(all.end(), windows.validation.begin(), windows.validation.end());
    return all;
  }

  Status embed_windows(const CalibrationWindows& windows) {
    train_windows_ = static_cast<std::int64_t>(windows.train.size());
    const std::vector<std::vector<TokenId>> all = all_of(windows);
    const HiddenStream::Shape shape{
        .windows = static_cast<std::int64_t>(all.size()),
        .length = all.empty() ? 0 : static_cast<std::int64_t>(all.front().size()),
        .width = plan_.model.hidden};
    for (auto* stream : {&teacher_, &student_}) {
      auto made = HiddenStream::make(shape, options_.offload_dir);
      if (!made) return made.error();
      stream->emplace(std::move(*made));
    }
    if (passes_.teacher_inputs) {
      HiddenStream::Shape training = shape;
      training.windows = train_windows_;
      auto made = HiddenStream::make(training, options_.offload_dir);
      if (!made) return made.error();
      teacher_inputs_.emplace(std::move(*made));
    }
    if (auto status = embed_into(*teacher_, all, checkpoint_, {}); !status) return status;
    return embed_student(all);
  }

  Status embed_student(const std::vector<std::vector<TokenId>>& windows) {
    const auto written = output_.read_rest();
    if (!written) return written.error();
    return embed_into(*student_, windows, *written, plan_.quantization());
  }

  Status embed_into(HiddenStream& stream, const std::vector<std::vector<TokenId>>& windows,
                    const Checkpoint& from, const QuantizationMap& quantization) const {
    const auto embedding = TokenEmbedding::open(from, plan_.model, quantization);
    if (!embedding) return embedding.error();
    for (std::int64_t window = 0; window < std::ssize(windows); ++window) {
      const std::vector<TokenId>& tokens = windows[static_cast<std::size_t>(window)];
      const auto rows = embedding->rows(tokens, 0);
      if (!rows) return rows.error();
      stream.set(window, to_tensor(*rows, {std::ssize(tokens), plan_.model.hidden}));
    }
    return {};
  }

  // What the passes over single blocks leave behind.
  BlockShard stage() const { return passes_.model ? BlockShard::draft : BlockShard::final; }

  Result<BlockReport> run_block(std::int64_t index) {
    const Clock::time_point start = Clock::now();
    const bool resumed = output_.has_block(stage(), index);
    auto block = TorchBlock::load(checkpoint_, plan_.model, index, device_);
    if (!block) return block.error();
    BlockReport report;
    report.index = index;
    if (auto status = advance_teacher(*block, index, resumed ? Inputs::dropped : Inputs::kept);
        !status) {
      return status.error();
    }
    TorchBlock student = *block;
    auto weights = resumed ? output_.read_block(stage(), index) : learn(student, report);
    if (!weights) return weights.error();
    TorchBlock::Floats floats;
    if (resumed) {
      auto note = parse_ordered_json(output_.block_note(stage(), index));
      if (!note) return note.error();
      report = block_report(*note);
      if (auto status = restore_activations(report, linears(index)); !status) return status.error();
      if (auto status = output_.read_extras(stage(), index, linears(index)); !status) {
        return status.error();
      }
      auto written = output_.read_floats(stage(), index, student.floats());
      if (!written) return written.error();
      floats = std::move(*written);
    } else {
      auto stored = as_stored(student.floats());
      if (!stored) return stored.error();
      floats = std::move(*stored);
    }
    student.set_floats(floats);
    auto error = advance_student(student, index, *weights);
    if (!error) return error.error();
    if (!resumed) {
      report.mse_after = *error;
      const std::string note = to_json(report).dump();
      if (auto status =
              output_.write_block(stage(), index, linears(index), pointers(*weights), floats, note);
          !status) {
        return status.error();
      }
    }
    report.seconds = seconds_since(start);
    return report;
  }

  // Gains and biases in the types that the source stores them in.
  Result<TorchBlock::Floats> as_stored(TorchBlock::Floats floats) const {
    for (auto& [name, values] : floats) {
      const auto source = checkpoint_.tensor(name);
      if (!source) return source.error();
      const DType type = source->info->dtype;
      const auto stored = type == DType::bf16  ? at::kBFloat16
                          : type == DType::f16 ? at::kHalf
                                               : at::kFloat;
      values = values.detach().to(at::kCPU, stored).contiguous();
    }
    return floats;
  }

  static std::vector<const GroupAffineWeight*> pointers(
      const std::vector<std::optional<GroupAffineWeight>>& weights) {
    std::vector<const GroupAffineWeight*> result;
    for (const auto& weight : weights) result.push_back(weight ? &*weight : nullptr);
    return result;
  }

  std::vector<PlannedLinear>& linears(std::int64_t index) {
    return plan_.blocks[static_cast<std::size_t>(index)].linears;
  }

  // Tells the share of the run that is done; also where Ctrl-C is heard.
  Status step(double done, const std::string& where, const std::string& detail) const {
    if (interrupted()) {
      return Error{ErrorKind::interrupted, "quantize/interrupted",
                   fmt::format("{}: interrupted in {}; the same command continues after the last "
                               "finished block",
                               options_.output.string(), where)};
    }
    if (options_.on_progress) options_.on_progress(done, where + " " + detail);
    return {};
  }

  Status block_step(std::int64_t index, double fraction, const std::string& detail) const {
    const std::int64_t blocks = plan_.model.blocks;
    const double share = passes_.model ? kBlocksShare : 1.0;
    return step(share * (static_cast<double>(index) + fraction) / static_cast<double>(blocks),
                fmt::format("block {}/{}", index + 1, blocks), detail);
  }

  // The teacher's stream becomes this block's outputs: the targets. Its inputs are kept for passes
  // that ask, and a resumed block has none to run.
  enum class Inputs { kept, dropped };
  Status advance_teacher(const TorchBlock& block, std::int64_t index, Inputs inputs) {
    const bool keep = teacher_inputs_ && inputs == Inputs::kept;
    return for_each_window(index, 0.0, "teacher", [&](std::int64_t window) {
      const Tensor states = teacher_->get(window, device_);
      if (keep && window < train_windows_) teacher_inputs_->set(window, states);
      teacher_->set(window, block.forward(states));
    });
  }

  // Calls body(window) for every window, without gradients.
  Status for_each_window(std::int64_t index, double fraction, const std::string& what,
                         const std::function<void(std::int64_t window)>& body) const {
    const at::NoGradGuard no_gradient;
    const std::int64_t at_once = windows_at_once(device_);
    for (std::int64_t first = 0; first < teacher_->windows(); first += at_once) {
      for_windows(device_, first, std::min(first + at_once, teacher_->windows()), body);
      if (auto status = block_step(index, fraction, what); !status) return status;
    }
    return {};
  }

  Result<std::vector<std::optional<GroupAffineWeight>>> learn(TorchBlock& student,
                                                              BlockReport& report) {
    BlockTask task{.student = student,
                   .linears = linears(report.index),
                   .parameters = std::vector<GroupParameters>(student.linears()),
                   .inputs = *student_,
                   .targets = *teacher_,
                   .teacher_inputs = teacher_inputs_ ? &*teacher_inputs_ : nullptr,
                   .train_windows = train_windows_,
                   .device = device_,
                   .head_dim = plan_.model.head_dim,
                   .report = report,
                   .on_step = [&](double fraction, const std::string& detail) {
                     return block_step(report.index, 0.05 + 0.9 * fraction, detail);
                   }};
    const std::vector<ActivationScheme> planned = activations_of(task.linears);
    for (const BlockPass& pass : passes_.block) {
      if (auto status = pass(task); !status) return status.error();
    }
    if (auto chosen = activations_of(task.linears); chosen != planned) {
      report.activations = std::move(chosen);
    }
    std::vector<std::optional<GroupAffineWeight>> weights;
    for (std::size_t i = 0; i < task.linears.size(); ++i) {
      const PlannedLinear& linear = task.linears[i];
      if (!linear.scheme.weight.quantized()) {
        weights.emplace_back();
        continue;
      }
      weights.emplace_back(coded(student.weight(i), linear, task.parameters[i]));
    }
    return weights;
  }

  // The drafts, all at once, through the pass over the model; then each as it ends. A run that is
  // killed before the last of them is written tunes again, to the same bytes.
  Result<TuneReport> tune(const CalibrationWindows& windows) {
    const Clock::time_point start = Clock::now();
    const std::int64_t count = plan_.model.blocks;
    if (output_.has_block(BlockShard::final, count - 1)) {
      auto note = parse_ordered_json(output_.block_note(BlockShard::final, count - 1));
      if (!note) return note.error();
      return tune_report(*note);
    }
    if (auto status = embed_student(all_of(windows)); !status) return status.error();
    auto source_head = TorchHead::load(checkpoint_, plan_.model, nullptr, device_);
    if (!source_head) return source_head.error();
    auto head = packed_head(*source_head);
    if (!head) return head.error();
    std::vector<TunedBlock> blocks;
    for (std::int64_t index = 0; index < count; ++index) {
      auto draft = read_draft(index);
      if (!draft) return draft.error();
      blocks.push_back(std::move(*draft));
    }
    TuneReport report;
    ModelTask task{
        .blocks = blocks,
        .head = *head,
        .source_head = *source_head,
        .inputs = *student_,
        .targets = *teacher_,
        .train_windows = train_windows_,
        .device = device_,
        .report = report,
        .as_stored = [&](TorchBlock::Floats floats) { return as_stored(std::move(floats)); },
        .on_step =
            [&](double fraction, const std::string& detail) {
              return step(kBlocksShare + (1 - kBlocksShare) * fraction, "tune", detail);
            }};
    if (auto status = passes_.model(task); !status) return status.error();
    const std::string note = to_json(report).dump();
    for (std::int64_t index = 0; index < count; ++index) {
      if (output_.has_block(BlockShard::final, index)) continue;
      const TunedBlock& block = blocks[static_cast<std::size_t>(index)];
      auto floats = as_stored(block.student.floats());
      if (!floats) return floats.error();
      auto status = output_.write_block(BlockShard::final, index, linears(index),
                                        pointers(block.packed), *floats, note);
      if (!status) return status.error();
    }
    report.seconds = seconds_since(start);
    return report;
  }

  Result<TorchHead> packed_head(const TorchHead& source) const {
    const QuantizationMap quantization = plan_.quantization();
    const LinearScheme* scheme = quantization.find(plan_.model.head_name);
    if (scheme == nullptr) return source;
    auto rest = output_.read_rest();
    if (!rest) return rest.error();
    return TorchHead::load(*rest, plan_.model, scheme, device_);
  }

  Result<TunedBlock> read_draft(std::int64_t index) {
    auto block = TorchBlock::load(checkpoint_, plan_.model, index, device_);
    if (!block) return block.error();
    auto packed = output_.read_block(BlockShard::draft, index);
    if (!packed) return packed.error();
    auto floats = output_.read_floats(BlockShard::draft, index, block->floats());
    if (!floats) return floats.error();
    block->set_floats(*floats);
    for (std::size_t i = 0; i < packed->size(); ++i) {
      if ((*packed)[i]) block->set_weight(i, Tensor());
    }
    return TunedBlock{
        .student = std::move(*block), .linears = linears(index), .packed = std::move(*packed)};
  }

  // The weight as it is stored: the nearest codes for the parameters, or the ones they fix.
  static GroupAffineWeight coded(const Tensor& weight, const PlannedLinear& planned,
                                 const GroupParameters& parameters) {
    const std::vector<float> scales = to_floats(parameters.scale);
    GroupAffineWeight stored = quantize_group_affine(
        to_floats(weight), planned.linear.out, planned.linear.in, planned.scheme.weight, scales,
        to_floats(parameters.zero),
        {scale_type_of(planned.scheme.weight.format, scales), parameters.global_scale});
    if (parameters.centered.defined()) {
      const auto groups = parameters.centered.view({weight.size(0), parameters.zero.size(1), -1});
      const auto codes = to_floats(groups + parameters.zero.unsqueeze(2));
      std::transform(codes.begin(), codes.end(), stored.codes.begin(),
                     [](float code) { return static_cast<std::uint8_t>(code); });
    }
    return stored;
  }

  // Moves the student's stream through the packed weights, exactly those that the file holds.
  // Returns the error relative to the teacher's mean square, over the validation windows (all when
  // none).
  Result<double> advance_student(const TorchBlock& block, std::int64_t index,
                                 const std::vector<std::optional<GroupAffineWeight>>& packed) {
    std::vector<Tensor> weights;
    for (std::size_t i = 0; i < packed.size(); ++i) {
      weights.push_back(
          packed[i]
              ? to_tensor(packed[i]->dequantize(), {packed[i]->out, packed[i]->in}).to(device_)
              : block.weight(i));
    }
    const auto products = student_products(block, linears(index), weights, Precision::float32);
    const std::int64_t first = student_->windows() > train_windows_ ? train_windows_ : 0;
    std::vector<double> errors(static_cast<std::size_t>(student_->windows()), 0.0);
    std::vector<double> powers = errors;
    auto moved = for_each_window(index, 0.95, "packed", [&](std::int64_t window) {
      const Tensor output = block.forward(student_->get(window, device_), products);
      student_->set(window, output);
      if (window < first) return;
      const Tensor target = teacher_->get(window, device_);
      errors[static_cast<std::size_t>(window)] = (output - target).square().mean().item<double>();
      powers[static_cast<std::size_t>(window)] = target.square().mean().item<double>();
    });
    if (!moved) return moved.error();
    const double error = std::accumulate(errors.begin(), errors.end(), 0.0);
    const double power = std::accumulate(powers.begin(), powers.end(), 0.0);
    if (!std::isfinite(error)) {
      return bad_input(
          "quantize/non-finite",
          "block " + std::to_string(index) +
              ": the packed block's outputs are not finite; the source model overflows "
              "on this text, or the recipe's bits are too few for it");
    }
    return power > 0 ? error / power : 0.0;
  }

  const Checkpoint& checkpoint_;
  Plan plan_;  // its linears with what passes chose of activations
  const QuantizeOptions& options_;
  const PipelinePasses& passes_;
  at::Device device_;
  OutputFolder output_;
  std::int64_t train_windows_ = 0;
  std::optional<HiddenStream> teacher_, student_;
  std::optional<HiddenStream> teacher_inputs_;  // of the block in work, where passes ask
};

}  // namespace

Result<QuantizeReport> run_pipeline(const Checkpoint& checkpoint, const Plan& plan,
                                    const CalibrationWindows& windows,
                                    const QuantizeOptions& options, const PipelinePasses& passes) {
  auto device = find_device(options.device);
  if (!device) return device.error();
  auto inputs = run_inputs(checkpoint, plan, options);
  if (!inputs) return inputs.error();
  auto output = OutputFolder::open(checkpoint, plan, options.output, *inputs, options.restart);
  if (!output) return output.error();
  at::set_num_threads(thread_count());
  keep_freed_memory();
  if (output->complete()) {
    QuantizeReport report;
    auto bytes = output->size_bytes();
    if (!bytes) return bytes.error();
    report.output_bytes = *bytes;
    report.bits_per_weight = plan.bits_per_weight;
    report.already_complete = true;
    return report;
  }
  try {
    return Pipeline(checkpoint, plan, options, passes, *device, std::move(*output)).run(windows);
  } catch (const c10::Error& error) {  // LibTorch's border: out of device memory, a failed kernel
    return environment_error("quantize/libtorch",
                             std::string("LibTorch: ") + error.what_without_backtrace());
  }
}

Result<std::string> run_digest(const Checkpoint& checkpoint, const Plan& plan,
                               const QuantizeOptions& options) {
  const auto inputs = run_inputs(checkpoint, plan, options);
  if (!inputs) return inputs.error();
  return digest_of(*inputs);
}

}  // namespace lowbit
