#include "calib/output_folder.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>

#include "base/sha256.h"

namespace lowbit {
namespace {

// Copied byte for byte where the source has them; weights, index and config.json are ours.
constexpr std::array kCompanions = {"tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "vocab.json",
                                    "merges.txt",
                                    "tokenizer.model",
                                    "generation_config.json",
                                    "chat_template.jinja",
                                    "chat_template.json",
                                    "LICENSE",
                                    "LICENSE.txt"};
constexpr std::uint64_t kCompanionLimit = 256ULL << 20;
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kReportName = "lowbit-report.json";

constexpr const char* kDraftPrefix = "draft-";

std::string step_of(BlockShard shard, std::int64_t block) {
  return (shard == BlockShard::draft ? "draft " : "block ") + std::to_string(block);
}

TensorToWrite borrowed(const Checkpoint::Tensor& tensor) {
  return {.name = tensor.info->name,
          .dtype = tensor.info->dtype,
          .shape = tensor.info->shape,
          .bytes = tensor.bytes};
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  CHECK(tensor.is_cpu() && tensor.is_contiguous());
  return {static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

void sort_by_name(std::vector<TensorToWrite>& tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorToWrite& a, const TensorToWrite& b) { return a.name < b.name; });
}

// Tensors of the source that belong to one block's module.
std::vector<std::string> names_below(const Checkpoint& source, const std::string& prefix) {
  std::vector<std::string> below;
  for (const std::string& name : source.names()) {
    if (name.starts_with(prefix + ".")) below.push_back(name);
  }
  return below;
}

}  // namespace

std::string digest_of(const Journal::Inputs& inputs) {
  OrderedJson list = OrderedJson::array();
  for (const auto& [name, value] : inputs) list.push_back({name, value});
  return sha256_hex(list.dump());
}

Result<OutputFolder> OutputFolder::open(const Checkpoint& source, const Plan& plan,
                                        const Path& folder, const Journal::Inputs& inputs,
                                        bool restart) {
  FileSystem& files = source.files();
  OutputFolder output(source, plan, folder);
  output.digest_ = digest_of(inputs);
  auto completed = completed_run(files, folder);
  if (!completed) return completed.error();
  const bool journalled = files.exists(folder / ".lowbit-journal");
  if (!completed->empty() && !journalled) {
    if (restart) {
      if (auto status = discard_completed(files, folder); !status) return status.error();
      if (auto status = output.remove_drafts(); !status) return status.error();
    } else if (*completed == output.digest_) {
      output.complete_ = true;
      if (auto status = output.remove_drafts(); !status) return status.error();  // killed in finish
      return output;
    } else {
      return holds_other_result(folder);
    }
  }
  if (restart && journalled) {
    if (auto status = Journal::discard(files, folder); !status) return status.error();
    if (auto status = files.remove(folder / "config.json"); !status) return status.error();
  }
  auto journal = Journal::open(files, folder, inputs);
  if (!journal) return journal.error();
  output.journal_ = std::move(*journal);
  return output;
}

std::string OutputFolder::shard_name(std::int64_t shard) const {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "model-%05lld-of-%05lld.safetensors",
                static_cast<long long>(shard), static_cast<long long>(plan_->model.blocks + 1));
  return name.data();
}

std::string OutputFolder::block_name(BlockShard shard, std::int64_t block) const {
  if (shard == BlockShard::final) return shard_name(block + 1);
  return kDraftPrefix + shard_name(block + 1);
}

bool OutputFolder::has_block(BlockShard shard, std::int64_t block) const {
  return journal_->finished(step_of(shard, block));
}

std::string OutputFolder::block_note(BlockShard shard, std::int64_t block) const {
  return journal_->note_of(step_of(shard, block));
}

Status OutputFolder::remove_drafts() const {
  FileSystem& files = source_->files();
  for (std::int64_t block = 0; block < plan_->model.blocks; ++block) {
    const Path draft = folder_ / block_name(BlockShard::draft, block);
    if (!files.exists(draft)) continue;
    if (auto status = files.remove(draft); !status) return status;
  }
  return {};
}

Status OutputFolder::write_shard(const std::string& step, const std::string& name,
                                 const std::vector<TensorToWrite>& tensors,
                                 const std::string& note) {
  if (auto status = journal_->begin(step, {name}); !status) return status;
  if (auto status = write_safetensors(source_->files(), folder_ / name, tensors); !status) {
    return status;
  }
  return journal_->finish(step, {name}, note);
}

Status OutputFolder::write_block(BlockShard shard, std::int64_t block,
                                 std::span<const PlannedLinear> planned,
                                 const std::vector<const GroupAffineWeight*>& linears,
                                 const TorchBlock::Floats& floats, const std::string& note) {
  std::vector<PackedTensors> packed;
  std::set<std::string> replaced;
  for (std::size_t i = 0; i < planned.size(); ++i) {
    if (linears[i] == nullptr) continue;
    packed.emplace_back(planned[i].linear.name, *linears[i], planned[i].scheme);
    replaced.insert(planned[i].linear.name + ".weight");
  }
  std::vector<TensorToWrite> tensors;
  for (const PackedTensors& linear : packed) {
    for (TensorToWrite& tensor : linear.tensors()) tensors.push_back(std::move(tensor));
  }
  for (const std::string& name : names_below(*source_, plan_->model.block(block).prefix)) {
    if (replaced.contains(name)) continue;
    auto tensor = source_->tensor(name);
    if (!tensor) return tensor.error();
    tensors.push_back(borrowed(*tensor));
    if (const auto given = floats.find(name); given != floats.end()) {
      tensors.back().bytes = bytes_of(given->second);
      CHECK(tensors.back().bytes.size() == tensor->bytes.size());
    }
  }
  sort_by_name(tensors);
  return write_shard(step_of(shard, block), block_name(shard, block), tensors, note);
}

Result<std::vector<std::optional<GroupAffineWeight>>> OutputFolder::read_block(
    BlockShard shard, std::int64_t block) const {
  auto tensors = Checkpoint::open_weights(source_->files(), folder_ / block_name(shard, block));
  if (!tensors) return tensors.error();
  std::vector<std::optional<GroupAffineWeight>> weights;
  for (const PlannedLinear& planned : plan_->blocks[static_cast<std::size_t>(block)].linears) {
    if (!planned.scheme.weight.quantized()) {
      weights.emplace_back();
      continue;
    }
    auto weight = read_group_affine(*tensors, planned.linear.name, planned.linear.out,
                                    planned.linear.in, planned.scheme.weight);
    if (!weight) return weight.error();
    weights.emplace_back(std::move(*weight));
  }
  return weights;
}

Status OutputFolder::read_extras(BlockShard shard, std::int64_t block,
                                 std::vector<PlannedLinear>& planned) const {
  auto tensors = Checkpoint::open_weights(source_->files(), folder_ / block_name(shard, block));
  if (!tensors) return tensors.error();
  for (PlannedLinear& linear : planned) {
    auto transform = read_factors(*tensors, linear.scheme.transform);
    if (!transform) return transform.error();
    linear.scheme.transform = std::move(*transform);
    auto low_rank = read_low_rank(*tensors, linear.linear.name, linear.scheme.low_rank,
                                  linear.linear.out, linear.linear.in);
    if (!low_rank) return low_rank.error();
    linear.scheme.low_rank = std::move(*low_rank);
  }
  return {};
}

Result<TorchBlock::Floats> OutputFolder::read_floats(BlockShard shard, std::int64_t block,
                                                     const TorchBlock::Floats& like) const {
  auto tensors = Checkpoint::open_weights(source_->files(), folder_ / block_name(shard, block));
  if (!tensors) return tensors.error();
  TorchBlock::Floats floats;
  for (const auto& [name, tensor] : like) {
    auto values = tensors->floats(name, tensor.sizes().vec());
    if (!values) return values.error();
    floats[name] = to_tensor(*values, tensor.sizes().vec());
  }
  return floats;
}

Status OutputFolder::write_rest(const PackTable& pack) {
  if (journal_->finished("tensors")) return {};
  std::set<std::string> elsewhere;
  for (std::int64_t block = 0; block < plan_->model.blocks; ++block) {
    for (const std::string& name : names_below(*source_, plan_->model.block(block).prefix)) {
      elsewhere.insert(name);
    }
  }
  std::vector<PackedTensors> packed;
  for (const PlannedTable& table : plan_->tables) {
    if (!table.scheme.weight.quantized()) continue;
    auto tensors = pack(table);
    if (!tensors) return std::move(tensors).error();
    packed.push_back(std::move(*tensors));
    elsewhere.insert(table.linear.name + ".weight");
  }
  std::vector<TensorToWrite> tensors;
  for (const PackedTensors& table : packed) {
    for (TensorToWrite& tensor : table.tensors()) tensors.push_back(std::move(tensor));
  }
  for (const std::string& name : source_->names()) {
    if (elsewhere.contains(name)) continue;
    auto tensor = source_->tensor(name);
    if (!tensor) return tensor.error();
    tensors.push_back(borrowed(*tensor));
  }
  sort_by_name(tensors);
  return write_shard("tensors", shard_name(plan_->model.blocks + 1), tensors, "{}");
}

Result<Checkpoint> OutputFolder::read_rest() const {
  return Checkpoint::open_weights(source_->files(), folder_ / shard_name(plan_->model.blocks + 1));
}

Status OutputFolder::write_companions(const std::string& report) {
  FileSystem& files = source_->files();
  std::vector<std::string> written;
  for (const char* name : kCompanions) {
    if (files.exists(source_->folder() / name)) written.emplace_back(name);
  }
  const std::size_t copied = written.size();
  written.emplace_back(kIndexName);
  written.emplace_back(kReportName);
  if (auto status = journal_->begin("companions", written); !status) return status;
  for (std::size_t i = 0; i < copied; ++i) {
    const std::string& name = written[i];
    auto content = files.read(source_->folder() / name, kCompanionLimit);
    if (!content) return content.error();
    if (auto status = write_whole(files, folder_ / name, *content); !status) return status;
  }
  std::map<std::string, std::string> weight_map;
  std::uint64_t total = 0;
  for (std::int64_t shard = 1; shard <= plan_->model.blocks + 1; ++shard) {
    auto file = SafetensorsFile::open(files, folder_ / shard_name(shard));
    if (!file) return file.error();
    for (const TensorInfo& tensor : file->tensors()) {
      weight_map[tensor.name] = shard_name(shard);
      total += tensor.size_bytes();
    }
  }
  const OrderedJson index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  if (auto status = write_whole(files, folder_ / kIndexName, index.dump(2) + "\n"); !status) {
    return status;
  }
  if (auto status = write_whole(files, folder_ / kReportName, report); !status) return status;
  return journal_->finish("companions", written, "{}");
}

Status OutputFolder::write_config(const QuantizationMap& quantization) {
  std::vector<std::string> linears;
  for (const PlannedBlock& block : plan_->blocks) {
    for (const PlannedLinear& planned : block.linears) linears.push_back(planned.linear.name);
  }
  for (const PlannedTable& table : plan_->tables) {
    // A float embedding is no linear that readers would look for in "ignore"; the head is.
    const bool is_head = table.linear.name == plan_->model.head_name && !plan_->model.tied_head;
    if (is_head || table.scheme.weight.quantized()) linears.push_back(table.linear.name);
  }
  if (plan_->model.tied_head) linears.emplace_back("lm_head");  // no weight of its own
  LowbitInfo info{.recipe = plan_->recipe.name, .run = digest_};
  // float16 is what keys and values are kept as where nothing is told
  if (plan_->recipe.kv_cache != KvType::f16) info.kv_cache = plan_->recipe.kv_cache;
  for (const JournalFile& file : journal_->all_files()) {
    if (!file.name.starts_with(kDraftPrefix)) info.files[file.name] = file.sha256;
  }
  OrderedJson config = source_->config();
  config["quantization_config"] = quantization.quantization_config(linears);
  config["lowbit"] = info.json(quantization);
  return write_whole(source_->files(), folder_ / "config.json", config.dump(2) + "\n");
}

Status OutputFolder::finish(const QuantizationMap& quantization, const std::string& report) {
  if (!journal_->finished("companions")) {
    if (auto status = write_companions(report); !status) return status;
  }
  if (auto status = write_config(quantization); !status) return status;
  complete_ = true;
  if (auto status = journal_->remove(); !status) return status;
  return remove_drafts();
}

Result<std::uint64_t> OutputFolder::size_bytes() const {
  auto names = source_->files().list(folder_);
  if (!names) return names.error();
  std::uint64_t total = 0;
  for (const std::string& name : *names) {
    auto info = source_->files().info(folder_ / name);
    if (!info) return info.error();
    if (!info->is_folder) total += info->size_bytes;
  }
  return total;
}

}  // namespace lowbit
