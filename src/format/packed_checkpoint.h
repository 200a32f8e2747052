// The packed output: a compressed-tensors checkpoint, written shard by shard and read back.
//
// config.json carries quantization_config (one config_group per distinct scheme) and, under
// "lowbit", what that format cannot say; see docs/formats/packed-checkpoint.md.
// Errors: packed/{unsupported-method, unsupported-transform, bad-config, unknown-version,
// missing-tensor, wrong-shape, wrong-dtype, both-weights, bad-scale, bad-code, bad-sum,
// unknown-tensor}.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "format/group_affine.h"
#include "format/kv_type.h"
#include "format/scheme.h"
#include "io/checkpoint.h"

namespace lowbit {

struct LinearScheme {
  WeightScheme weight = {};
  ActivationScheme activation = {};
  InputTransform transform = {};
  LowRank low_rank = {};
  bool operator==(const LinearScheme&) const = default;
};
std::string describe(const LinearScheme& scheme);  // "W4 g128 asym, A4 g128 asym, H512, rank 8"

// Which linears of a checkpoint are quantized and how, the embedding among them: its table is a
// weight like theirs. Empty for a float checkpoint.
class QuantizationMap {
 public:
  // Reads quantization_config and the lowbit key; an empty map when the config has neither.
  // `linears`: all linear module names, to resolve class and regex targets; `embedding`: that of
  // the embedding, empty where it is not known. A group that no module of ours matches is no error:
  // it may speak of modules that we do not know. Whether a transform's blocks divide a row is told
  // by check_transform, where the row is known.
  static Result<QuantizationMap> read(const OrderedJson& config,
                                      const std::vector<std::string>& linears,
                                      const std::string& embedding = {});

  void set(std::string linear, LinearScheme scheme);  // a scheme of 16-bit weights is not entered
  const LinearScheme* find(const std::string& linear) const;  // null: a float linear
  bool empty() const { return schemes_.empty(); }
  const std::map<std::string, LinearScheme>& schemes() const { return schemes_; }

  // The quantization_config object: one group a scheme, each linear matched by exactly one target
  // (a name, or a pattern over block numbers and linears); ignored linears by name; transforms of
  // inputs under transform_config.
  OrderedJson quantization_config(const std::vector<std::string>& linears) const;

 private:
  std::map<std::string, LinearScheme> schemes_;
};

// packed/bad-config where the transform's blocks do not divide the linear's inputs, or its factors
// do not multiply to them.
Status check_transform(const std::string& linear, const InputTransform& transform, std::int64_t in);
// packed/bad-config where the pair's rank is above the smaller side of the weight.
Status check_low_rank(const std::string& linear, const LowRank& low_rank, std::int64_t out,
                      std::int64_t in);

// The tensors that stand for a weight of this scheme, by the last part of their names, the codes
// first.
std::vector<std::string_view> stored_parts(const WeightScheme& scheme);
// Those beside them that say how the linear's input is taken: a stored scale; the factors of a
// transform, with one of the linears that share it; a low-rank pair.
std::vector<std::string_view> stored_input_parts(const std::string& linear,
                                                 const LinearScheme& scheme);

// The tensors of one quantized linear, as they stand in a shard; owns the bytes.
class PackedTensors {
 public:
  // `input`: of which the parts that stored_input_parts names are stored too.
  PackedTensors(const std::string& linear, const GroupAffineWeight& weight,
                const LinearScheme& input = {});
  // A weight that is packed in runs of rows, for one that is too large to be held otherwise: the
  // first run is the constructor's; all but the last have a multiple of 32 rows, because 32 zero
  // points fill whole words. `reserve` takes the memory of so many rows at once.
  void reserve(std::int64_t rows);
  void append(const GroupAffineWeight& rows);
  std::vector<TensorToWrite> tensors() const;

 private:
  std::string linear_;
  std::int64_t groups_;
  WeightScheme scheme_;
  ScaleGrid scale_grid_;
  PackedGroupAffine packed_;
  std::vector<std::int64_t> shape_;  // {out, in}
  ActivationScheme input_;
  KroneckerSize factors_;
  std::vector<std::uint16_t> left_, right_;  // float16; empty where there are none
  std::vector<std::uint16_t> low_rank_left_, low_rank_right_;  // likewise
};

// The scale that a linear's activations store, the tensor `input_scale` (of nvfp4
// `input_global_scale`) [1] of any float type: above 0, else packed/bad-scale.
Result<float> read_input_scale(const Checkpoint& checkpoint, const std::string& linear,
                               const ActivationScheme& scheme);

// The transform with its factors, the tensors `input_left` and `input_right` of the linear that it
// is stored with: float16, finite, of the sizes that the config says; as it is where it has none.
Result<InputTransform> read_factors(const Checkpoint& checkpoint, InputTransform transform);

// The linear's low-rank pair, the tensors `low_rank_left` and `low_rank_right`: float16, finite, of
// the rank that the config says (check_low_rank); as it is where there is none.
Result<LowRank> read_low_rank(const Checkpoint& checkpoint, const std::string& linear,
                              LowRank low_rank, std::int64_t out, std::int64_t in);

// One linear as its checkpoint stores it, every description and scale checked; views of the mapped
// files, which the checkpoint must outlive.
struct StoredGroupAffine {
  std::int64_t out = 0, in = 0, group_size = 0;
  int bits = 4;
  bool symmetric = false;
  WeightFormat format = WeightFormat::integer;
  DType scale_type = DType::bf16;
  float global_scale = 1;
  bool dense = true;                  // or the older stream of floor(32 / bits) codes a word
  std::span<const std::byte> words;   // [out, words of a row], little-endian, at any alignment
  std::span<const std::byte> scales;  // [out, groups] of scale_type, at any alignment
  std::vector<std::uint8_t> zeros;    // [out, groups]

  std::int64_t groups() const { return in / group_size; }
  GroupAffineWeight unpack() const;
};

// Checks every tensor's dtype and shape first. Accepts the dense stream and, for 3, 5, 6 and 7
// bits, the older one. Of fp8 every code is read too: some are NaN.
Result<StoredGroupAffine> read_stored_group_affine(const Checkpoint& checkpoint,
                                                   const std::string& linear, std::int64_t out,
                                                   std::int64_t in, const WeightScheme& scheme);

// The same, unpacked.
Result<GroupAffineWeight> read_group_affine(const Checkpoint& checkpoint, const std::string& linear,
                                            std::int64_t out, std::int64_t in,
                                            const WeightScheme& scheme);

// The tensors of one quantized linear in a checkpoint, whose mapping they borrow: each has the
// dtype and shape that the scheme asks for; their data has not been touched.
struct PackedParts {
  std::string linear;
  std::int64_t out = 0;
  std::int64_t in = 0;
  WeightScheme scheme;       // group_size: that of the weight, never 0
  bool whole_codes = false;  // the stream of older writers
  Checkpoint::Tensor codes, scales;
  std::optional<Checkpoint::Tensor> zeros;
  float global_scale = 1;

  std::int64_t groups() const { return in / scheme.group_size; }
};

// Rows of a quantized weight, decoded from the mapped file one at a time: an embedding, of whose
// table a text needs a few rows.
class PackedRows {
 public:
  static Result<PackedRows> open(const Checkpoint& checkpoint, const std::string& linear,
                                 std::int64_t out, std::int64_t in, const WeightScheme& scheme);
  // Writes the row's [in] values. "packed/bad-scale" where one of its scales is damaged.
  Status decode(std::int64_t row, std::span<float> values) const;

 private:
  explicit PackedRows(PackedParts parts) : parts_(std::move(parts)) {}
  PackedParts parts_;
};

// What stands under "lowbit" in config.json: all that quantization_config cannot say. Readers of
// other programs skip the key; ours refuses a version that it does not know.
struct LowbitInfo {
  static constexpr int kVersion = 1;
  std::string recipe = {};  // its name; empty when not told
  std::string run = {};     // fingerprint of all that decided the output; empty when not told
  // As what keys and values are to be kept: f16, int8 or int4; none when not told.
  std::optional<KvType> kv_cache = {};
  std::map<std::string, std::string> files = {};  // name in the folder -> SHA-256; not config.json

  // Nothing when the config has no "lowbit" key. Errors: packed/{unknown-version, bad-config}.
  static Result<std::optional<LowbitInfo>> read(const OrderedJson& config);
  // The object, the activation quantizer's rules included when one of the linears has it.
  OrderedJson json(const QuantizationMap& quantization) const;
};

// The fingerprint of the run that completed this folder; empty when none of ours did.
Result<std::string> completed_run(FileSystem& files, const Path& folder);
// Removes the files of a completed run, config.json first: what is left can never look complete.
Status discard_completed(FileSystem& files, const Path& folder);

}  // namespace lowbit
