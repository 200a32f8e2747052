// The packed checkpoint as it grows: shards by step, journalled, config.json last.
//
// Steps: "tensors" (what no block owns: embeddings, last norm, head), "draft K" where the whole
// model is tuned afterwards, "block K", "companions"
// (tokenizer and generation files, the index, the report). A folder whose config.json carries this
// run's digest is complete.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calib/block.h"
#include "format/packed_checkpoint.h"
#include "io/checkpoint.h"
#include "io/journal.h"
#include "recipe/plan.h"

namespace lowbit {

// What a completed folder carries of the inputs that decided it.
std::string digest_of(const Journal::Inputs& inputs);

// Where a recipe tunes the whole model, its blocks are first written as drafts, of which nothing is
// left in a complete folder.
enum class BlockShard { draft, final };

class OutputFolder {
 public:
  // Starts or continues a run; `restart` forgets what is there. "plan/output-not-empty": the folder
  // holds the result of another run, or something else.
  static Result<OutputFolder> open(const Checkpoint& source, const Plan& plan, const Path& folder,
                                   const Journal::Inputs& inputs, bool restart);

  bool complete() const { return complete_; }
  bool has_block(BlockShard shard, std::int64_t block) const;
  std::string block_note(BlockShard shard, std::int64_t block) const;

  // Packs one block: quantized linears as given (null: the source's own tensor), gains and biases
  // as given, in their types; all else copied.
  Status write_block(BlockShard shard, std::int64_t block, std::span<const PlannedLinear> planned,
                     const std::vector<const GroupAffineWeight*>& linears,
                     const TorchBlock::Floats& floats, const std::string& note);
  // The packed weights of a finished block, as written; nothing for float linears.
  Result<std::vector<std::optional<GroupAffineWeight>>> read_block(BlockShard shard,
                                                                   std::int64_t block) const;
  // Gives its linears the factors of their inputs' transforms and their low-rank pairs, as written.
  Status read_extras(BlockShard shard, std::int64_t block,
                     std::vector<PlannedLinear>& planned) const;
  // Its gains and biases, as written; `like` has their names and shapes.
  Result<TorchBlock::Floats> read_floats(BlockShard shard, std::int64_t block,
                                         const TorchBlock::Floats& like) const;

  // What no block owns: quantized tables as `pack` gives them, all else copied. Does nothing where
  // an earlier run has done it.
  using PackTable = std::function<Result<PackedTensors>(const PlannedTable& table)>;
  Status write_rest(const PackTable& pack);
  Result<Checkpoint> read_rest() const;  // these tensors as written

  // The companions, config.json last; then journal and drafts go. Blocks and rest are written.
  // `quantization`: the plan's schemes with what passes chose of them.
  Status finish(const QuantizationMap& quantization, const std::string& report);
  Result<std::uint64_t> size_bytes() const;

 private:
  OutputFolder(const Checkpoint& source, const Plan& plan, Path folder)
      : source_(&source), plan_(&plan), folder_(std::move(folder)) {}
  std::string shard_name(std::int64_t shard) const;  // from 1; block K is shard K + 1
  std::string block_name(BlockShard shard, std::int64_t block) const;
  Status remove_drafts() const;
  Status write_shard(const std::string& step, const std::string& name,
                     const std::vector<TensorToWrite>& tensors, const std::string& note);
  Status write_companions(const std::string& report);
  Status write_config(const QuantizationMap& quantization);

  const Checkpoint* source_;
  const Plan* plan_;
  Path folder_;
  std::string digest_;
  bool complete_ = false;
  std::optional<Journal> journal_;
};

}  // namespace lowbit
