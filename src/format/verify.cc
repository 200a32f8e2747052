#include "format/verify.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/half_float.h"
#include "base/sha256.h"
#include "format/packed_checkpoint.h"
#include "io/checkpoint.h"
#include "model/model_spec.h"

namespace lowbit {
namespace {

// What the model must hold: float tensors by name with their shapes, its linears, its embedding.
struct Expected {
  std::map<std::string, std::vector<std::int64_t>> tensors;
  std::vector<LinearSpec> linears;
  LinearSpec embedding;

  void add(const NormSpec& norm, NormKind kind) {
    tensors[norm.name + ".weight"] = {norm.width};
    if (kind == NormKind::layer) tensors[norm.name + ".bias"] = {norm.width};
  }
};

Expected expected_of(const ModelSpec& spec) {
  Expected expected;
  expected.embedding = {.name = spec.embedding_name, .out = spec.vocabulary, .in = spec.hidden};
  if (!spec.position_name.empty()) {
    expected.tensors[spec.position_name + ".weight"] = {spec.max_positions + spec.position_offset,
                                                        spec.hidden};
  }
  for (std::int64_t i = 0; i < spec.blocks; ++i) {
    const BlockSpec block = spec.block(i);
    for (const NormSpec* norm : block.norms()) {
      const bool of_heads =
          (block.q_norm && norm == &*block.q_norm) || (block.k_norm && norm == &*block.k_norm);
      expected.add(*norm, of_heads ? NormKind::rms : spec.norm);
    }
    for (const LinearSpec* linear : block.linears()) expected.linears.push_back(*linear);
  }
  expected.add(spec.final_norm, spec.norm);
  if (!spec.tied_head) {
    expected.linears.push_back({.name = spec.head_name, .out = spec.vocabulary, .in = spec.hidden});
  }
  return expected;
}

bool is_float(DType type) {
  return type == DType::f64 || type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

// Whether all exponent bits of an element are set (an infinity or a NaN), by type.
template <typename Word>
std::int64_t first_not_finite(std::span<const std::byte> bytes, Word exponent) {
  for (std::size_t i = 0; i + sizeof(Word) <= bytes.size(); i += sizeof(Word)) {
    Word word = 0;
    std::memcpy(&word, bytes.data() + i, sizeof(Word));
    if ((word & exponent) == exponent) return static_cast<std::int64_t>(i / sizeof(Word));
  }
  return -1;
}

std::int64_t first_not_finite(DType type, std::span<const std::byte> bytes) {
  switch (type) {
    case DType::f64:
      return first_not_finite<std::uint64_t>(bytes, 0x7FF0000000000000U);
    case DType::f32:
      return first_not_finite<std::uint32_t>(bytes, 0x7F800000U);
    case DType::f16:
      return first_not_finite<std::uint16_t>(bytes, 0x7C00U);
    default:
      return first_not_finite<std::uint16_t>(bytes, 0x7F80U);  // bf16
  }
}

class Verifier {
 public:
  Verifier(FileSystem& files, const Checkpoint& checkpoint, VerifyReport& report)
      : files_(files), checkpoint_(checkpoint), report_(report) {}

  Status run() {
    const Result<ModelSpec> spec = read_model_spec(checkpoint_.config());
    if (!spec) return spec.error();
    const Expected expected = expected_of(*spec);
    std::vector<std::string> linears;
    for (const LinearSpec& linear : expected.linears) linears.push_back(linear.name);
    const Result<QuantizationMap> map =
        QuantizationMap::read(checkpoint_.config(), linears, expected.embedding.name);
    if (!map) return map.error();
    const Result<std::optional<LowbitInfo>> info = LowbitInfo::read(checkpoint_.config());
    if (!info) return info.error();

    check_sums(*info);
    check_values();
    for (const auto& [name, shape] : expected.tensors) check_tensor(name, shape);
    for (const LinearSpec& linear : expected.linears) check_linear(linear, map->find(linear.name));
    check_linear(expected.embedding, map->find(expected.embedding.name));
    check_no_unknown(spec->tied_head);
    return {};
  }

 private:
  void problem(Error error) {
    if (report_.problems.size() < VerifyReport::kProblemsLimit) {
      report_.problems.push_back(std::move(error));
    } else {
      ++report_.problems_left_out;
    }
  }

  void check_sums(const std::optional<LowbitInfo>& info) {
    if (!info || info->files.empty()) {
      report_.notes.push_back(
          "no sums are recorded in config.json: file contents are not compared");
      return;
    }
    for (const auto& [name, sum] : info->files) check_sum(name, sum);
    for (const SafetensorsFile& shard : checkpoint_.shards()) {
      const std::string name = shard.path().filename().string();
      if (!info->files.contains(name)) {
        problem(bad_input("packed/bad-sum",
                          fmt::format("{}: config.json records sums, but none for this file; it "
                                      "is not of this export",
                                      name)));
      }
    }
  }

  void check_sum(const std::string& name, const std::string& sum) {
    // A name from a file: only one that lies in the folder itself may be opened.
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      problem(
          bad_input("packed/bad-config",
                    fmt::format("config.json: lowbit.files: '{}' is no plain file name", name)));
      return;
    }
    const Result<std::unique_ptr<MappedFile>> file = files_.map(checkpoint_.folder() / name);
    if (!file) return problem(file.error());
    const std::string found = sha256_hex((*file)->bytes());
    ++report_.files_summed;
    if (found == sum) return;
    problem(
        bad_input("packed/bad-sum", fmt::format("{}: SHA-256 is {}; config.json records {}; the "
                                                "file was changed or damaged: fetch it again",
                                                name, found, sum)));
  }

  // Reads every byte of every tensor.
  void check_values() {
    for (const SafetensorsFile& shard : checkpoint_.shards()) {
      for (const TensorInfo& tensor : shard.tensors()) {
        ++report_.tensors_read;
        report_.bytes_read += tensor.size_bytes();
        // Scales are judged with their linear, by row and group.
        if (!is_float(tensor.dtype) || tensor.name.ends_with(".weight_scale")) continue;
        const std::int64_t at = first_not_finite(tensor.dtype, shard.bytes(tensor));
        if (at < 0) continue;
        problem(bad_input("checkpoint/non-finite",
                          fmt::format("{}: tensor '{}': element {} is not finite",
                                      shard.path().filename().string(), tensor.name, at)));
      }
    }
  }

  void check_tensor(const std::string& name, const std::vector<std::int64_t>& shape) {
    known_.insert(name);
    const Result<Checkpoint::Tensor> tensor = checkpoint_.tensor(name);
    if (!tensor) return problem(tensor.error());
    const TensorInfo& info = *tensor->info;
    if (info.shape != shape) {
      problem(bad_input(
          "checkpoint/wrong-shape",
          fmt::format("tensor '{}' is {}; the config needs {}", name, info.shape, shape)));
    }
    if (!is_float(info.dtype)) {
      problem(bad_input(
          "checkpoint/wrong-dtype",
          fmt::format("tensor '{}' is {}; expected a float type", name, lowbit::name(info.dtype))));
    }
  }

  void check_linear(const LinearSpec& linear, const LinearScheme* scheme) {
    if (linear.bias) check_tensor(linear.name + ".bias", {linear.out});
    if (scheme == nullptr) return check_tensor(linear.name + ".weight", {linear.out, linear.in});
    for (const std::string_view part : stored_parts(scheme->weight)) {
      known_.insert(fmt::format("{}.{}", linear.name, part));
    }
    for (const std::string_view part : stored_input_parts(linear.name, *scheme)) {
      known_.insert(fmt::format("{}.{}", linear.name, part));
    }
    if (scheme->activation.stores_scale()) {
      const Result<float> scale = read_input_scale(checkpoint_, linear.name, scheme->activation);
      if (!scale) problem(scale.error());
    }
    if (Status status = check_transform(linear.name, scheme->transform, linear.in); !status) {
      problem(status.error());
    }
    const Result<InputTransform> transform = read_factors(checkpoint_, scheme->transform);
    if (!transform) problem(transform.error());
    const Result<LowRank> low_rank =
        read_low_rank(checkpoint_, linear.name, scheme->low_rank, linear.out, linear.in);
    if (!low_rank) problem(low_rank.error());
    const Result<GroupAffineWeight> weight =
        read_group_affine(checkpoint_, linear.name, linear.out, linear.in, scheme->weight);
    if (!weight) return problem(weight.error());
    ++report_.linears_decoded;
  }

  void check_no_unknown(bool tied_head) {
    for (const std::string& name : checkpoint_.names()) {
      if (known_.contains(name)) continue;
      // Exports of older libraries carry these; nothing reads them.
      const bool harmless =
          name.ends_with(".rotary_emb.inv_freq") || (tied_head && name == "lm_head.weight");
      if (harmless) {
        report_.notes.push_back(fmt::format("tensor '{}' is not needed", name));
        continue;
      }
      problem(bad_input("packed/unknown-tensor",
                        fmt::format("tensor '{}' belongs to no part of the model that the config "
                                    "describes; the config or the file is of another model",
                                    name)));
    }
  }

  FileSystem& files_;
  const Checkpoint& checkpoint_;
  VerifyReport& report_;
  std::set<std::string> known_;
};

}  // namespace

Result<VerifyReport> verify(FileSystem& files, const Path& folder) {
  const Result<Checkpoint> checkpoint = Checkpoint::open(files, folder);
  if (!checkpoint) return checkpoint.error();
  VerifyReport report;
  report.folder = folder.string();
  if (Status status = Verifier(files, *checkpoint, report).run(); !status) return status.error();
  return report;
}

std::string verify_text(const VerifyReport& report) {
  std::string text = fmt::format(
      "{}: {} files summed, {} tensors read ({} bytes), {} packed linears decoded\n", report.folder,
      report.files_summed, report.tensors_read, report.bytes_read, report.linears_decoded);
  for (const std::string& note : report.notes) text += fmt::format("note: {}\n", note);
  for (const Error& error : report.problems) {
    text += fmt::format("problem ({}): {}\n", error.code, error.message);
  }
  if (report.problems_left_out > 0) {
    text += fmt::format("and {} more problems\n", report.problems_left_out);
  }
  text += report.ok() ? "good\n" : "damaged\n";
  return text;
}

OrderedJson verify_json(const VerifyReport& report) {
  OrderedJson problems = OrderedJson::array();
  for (const Error& error : report.problems) {
    problems.push_back({{"code", error.code}, {"message", error.message}});
  }
  return {{"folder", report.folder},
          {"good", report.ok()},
          {"files_summed", report.files_summed},
          {"tensors_read", report.tensors_read},
          {"bytes_read", report.bytes_read},
          {"linears_decoded", report.linears_decoded},
          {"problems", problems},
          {"problems_left_out", report.problems_left_out},
          {"notes", report.notes}};
}

}  // namespace lowbit
