// The tensors of one quantized linear: as they are written, and read back with every check.
#include "format/packed_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "base/half_float.h"

namespace lowbit {
namespace {

template <typename T>
std::vector<T> values(std::span<const std::byte> bytes) {  // files give no alignment: copy
  std::vector<T> result(bytes.size() / sizeof(T));
  if (!result.empty()) std::memcpy(result.data(), bytes.data(), result.size() * sizeof(T));
  return result;
}

std::vector<std::uint8_t> unpack_stream(std::span<const std::int32_t> words, std::int64_t rows,
                                        std::int64_t columns, int bits, bool dense) {
  return dense ? unpack_rows(words, rows, columns, bits)
               : unpack_rows_whole_codes(words, rows, columns, bits);
}

std::vector<float> scale_values(std::span<const std::byte> stored, DType type) {
  std::vector<float> scales(stored.size() / size_bytes(type));
  if (type == DType::f32) {
    read_f32(stored, scales);
  } else if (type == DType::bf16) {
    read_bf16(stored, scales);
  } else {
    read_f16(stored, scales);
  }
  return scales;
}

// Reads the tensors of one linear; each function names the linear in its errors.
class LinearReader {
 public:
  LinearReader(const Checkpoint& checkpoint, const std::string& linear, std::int64_t out,
               std::int64_t in, const WeightScheme& scheme)
      : checkpoint_(checkpoint), linear_(linear) {
    weight_.out = out;
    weight_.in = in;
    weight_.bits = scheme.bits;
    weight_.symmetric = scheme.symmetric;
    weight_.group_size = scheme.group_size == 0 || scheme.group_size > in ? in : scheme.group_size;
  }

  Result<StoredGroupAffine> read() {
    if (Status status = check_scheme(); !status) return status.error();
    if (Status status = check_no_other_weight(); !status) return status.error();
    if (Status status = check_shape_tensor(); !status) return status.error();
    // All descriptions are checked before any data is touched.
    Result<Checkpoint::Tensor> codes = find_codes();
    if (!codes) return codes.error();
    Result<Checkpoint::Tensor> scales = find_scales();
    if (!scales) return scales.error();
    std::optional<Checkpoint::Tensor> zeros;
    if (!weight_.symmetric) {
      Result<Checkpoint::Tensor> found =
          tensor("weight_zero_point", {DType::i32}, {zero_words(), weight_.groups()});
      if (!found) return found.error();
      zeros = *found;
    }
    weight_.words = codes->bytes;
    if (Status status = take_scales(*scales); !status) return status.error();
    take_zeros(zeros);
    return std::move(weight_);
  }

 private:
  std::string name(std::string_view part) const { return fmt::format("{}.{}", linear_, part); }

  Status check_scheme() const {
    if (weight_.bits < 2 || weight_.bits > 8) {
      return bad_input(
          "packed/bad-config",
          fmt::format("linear '{}': {} bits a weight; 2 to 8 can be read", linear_, weight_.bits));
    }
    if (weight_.group_size <= 0 || weight_.in % weight_.group_size != 0) {
      return bad_input("packed/bad-config",
                       fmt::format("linear '{}': groups of {} do not divide its {} inputs", linear_,
                                   weight_.group_size, weight_.in));
    }
    return {};
  }

  Status check_no_other_weight() const {
    if (checkpoint_.has(name("weight")) && checkpoint_.has(name("weight_packed"))) {
      return bad_input("packed/both-weights",
                       fmt::format("linear '{}' has both 'weight' and 'weight_packed'; one of them "
                                   "is left over from another export",
                                   linear_));
    }
    if (checkpoint_.has(name("weight_g_idx"))) {
      return bad_input(
          "packed/unsupported-method",
          fmt::format("linear '{}' has 'weight_g_idx' (activation order by group), which "
                      "is not read; export it with actorder null or \"static\"",
                      linear_));
    }
    return {};
  }

  Status check_shape_tensor() const {
    Result<Checkpoint::Tensor> shape = tensor("weight_shape", {DType::i64}, {2});
    if (!shape) return shape.error();
    const std::vector<std::int64_t> stored = values<std::int64_t>(shape->bytes);
    if (stored != std::vector<std::int64_t>{weight_.out, weight_.in}) {
      return bad_input("packed/wrong-shape",
                       fmt::format("tensor '{}' says {}; the model's config says [{}, {}]",
                                   name("weight_shape"), stored, weight_.out, weight_.in));
    }
    return {};
  }

  Result<Checkpoint::Tensor> tensor(std::string_view part, const std::vector<DType>& types,
                                    const std::vector<std::int64_t>& shape) const {
    if (!checkpoint_.has(name(part))) {
      return bad_input("packed/missing-tensor",
                       fmt::format("{}: tensor '{}' is not in the checkpoint; the config says that "
                                   "this linear is quantized",
                                   checkpoint_.folder().string(), name(part)));
    }
    Result<Checkpoint::Tensor> found = checkpoint_.tensor(name(part));
    if (!found) return found;
    if (std::find(types.begin(), types.end(), found->info->dtype) == types.end()) {
      std::vector<std::string_view> wanted;
      wanted.reserve(types.size());
      for (const DType type : types) wanted.push_back(lowbit::name(type));
      return bad_input("packed/wrong-dtype",
                       fmt::format("tensor '{}' is {}; expected {}", name(part),
                                   lowbit::name(found->info->dtype), fmt::join(wanted, " or ")));
    }
    if (found->info->shape != shape) {
      return bad_input("packed/wrong-shape", fmt::format("tensor '{}' is {}; its scheme needs {}",
                                                         name(part), found->info->shape, shape));
    }
    return found;
  }

  // The column count tells the dense stream from the older one; a mismatch is told of the dense
  // one.
  Result<Checkpoint::Tensor> find_codes() {
    const std::int64_t older = words_per_row_whole_codes(weight_.in, weight_.bits);
    const std::int64_t dense = words_per_row(weight_.in, weight_.bits);
    if (checkpoint_.has(name("weight_packed"))) {
      Result<Checkpoint::Tensor> found = checkpoint_.tensor(name("weight_packed"));
      if (!found) return found;
      weight_.dense =
          older == dense || found->info->shape != std::vector<std::int64_t>{weight_.out, older};
    }
    return tensor("weight_packed", {DType::i32}, {weight_.out, weight_.dense ? dense : older});
  }

  Result<Checkpoint::Tensor> find_scales() const {
    return tensor("weight_scale", {DType::bf16, DType::f16, DType::f32},
                  {weight_.out, weight_.groups()});
  }

  std::int64_t zero_words() const {
    return weight_.dense ? words_per_row(weight_.out, weight_.bits)
                         : words_per_row_whole_codes(weight_.out, weight_.bits);
  }

  Status take_scales(const Checkpoint::Tensor& stored) {
    weight_.scale_type = stored.info->dtype;
    weight_.scales = stored.bytes;
    const std::vector<float> scales = scale_values(stored.bytes, weight_.scale_type);
    for (std::size_t i = 0; i < scales.size(); ++i) {
      if (std::isfinite(scales[i]) && scales[i] != 0.0F) continue;
      const std::size_t groups = static_cast<std::size_t>(weight_.groups());
      return bad_input(
          "packed/bad-scale",
          fmt::format("linear '{}': the scale of row {}, group {} is {}; scales are "
                      "finite and not zero; the file is damaged or its writer is wrong",
                      linear_, i / groups, i % groups, scales[i]));
    }
    return {};
  }

  void take_zeros(const std::optional<Checkpoint::Tensor>& stored) {
    const auto count = static_cast<std::size_t>(weight_.out * weight_.groups());
    if (!stored) {
      weight_.zeros.assign(count, static_cast<std::uint8_t>(1U << (weight_.bits - 1)));
      return;
    }
    // One stream down `out` for each group column: turn the words, unpack, turn the zeros back.
    const std::vector<std::int32_t> words = values<std::int32_t>(stored->bytes);
    const auto groups = static_cast<std::size_t>(weight_.groups());
    const std::size_t rows = words.size() / groups;
    std::vector<std::int32_t> columns(words.size());
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t group = 0; group < groups; ++group) {
        columns[group * rows + row] = words[row * groups + group];
      }
    }
    const std::vector<std::uint8_t> turned =
        unpack_stream(columns, weight_.groups(), weight_.out, weight_.bits, weight_.dense);
    const auto out = static_cast<std::size_t>(weight_.out);
    weight_.zeros.resize(count);
    for (std::size_t o = 0; o < out; ++o) {
      for (std::size_t group = 0; group < groups; ++group) {
        weight_.zeros[o * groups + group] = turned[group * out + o];
      }
    }
  }

  const Checkpoint& checkpoint_;
  const std::string& linear_;
  StoredGroupAffine weight_;
};

}  // namespace

PackedTensors::PackedTensors(const std::string& linear, const GroupAffineWeight& weight)
    : linear_(linear),
      groups_(weight.groups()),
      scale_type_(weight.scale_type),
      packed_(pack(weight)),
      shape_{weight.out, weight.in} {}

std::vector<TensorToWrite> PackedTensors::tensors() const {
  const std::int64_t out = shape_[0];
  const auto rows_of = [](const std::vector<std::int32_t>& words, std::int64_t columns) {
    return static_cast<std::int64_t>(words.size()) / columns;
  };
  std::vector<TensorToWrite> result;
  result.push_back({linear_ + ".weight_packed",
                    DType::i32,
                    {out, rows_of(packed_.weight_packed, out)},
                    std::as_bytes(std::span(packed_.weight_packed))});
  result.push_back({linear_ + ".weight_scale", scale_type_, {out, groups_}, packed_.weight_scale});
  if (!packed_.weight_zero_point.empty()) {
    result.push_back({linear_ + ".weight_zero_point",
                      DType::i32,
                      {rows_of(packed_.weight_zero_point, groups_), groups_},
                      std::as_bytes(std::span(packed_.weight_zero_point))});
  }
  result.push_back({linear_ + ".weight_shape", DType::i64, {2}, std::as_bytes(std::span(shape_))});
  return result;
}

GroupAffineWeight StoredGroupAffine::unpack() const {
  return {.out = out,
          .in = in,
          .bits = bits,
          .group_size = group_size,
          .symmetric = symmetric,
          .scale_type = scale_type,
          .codes = unpack_stream(values<std::int32_t>(words), out, in, bits, dense),
          .scales = scale_values(scales, scale_type),
          .zeros = zeros};
}

Result<StoredGroupAffine> read_stored_group_affine(const Checkpoint& checkpoint,
                                                   const std::string& linear, std::int64_t out,
                                                   std::int64_t in, const WeightScheme& scheme) {
  CHECK(out > 0 && in > 0);
  return LinearReader(checkpoint, linear, out, in, scheme).read();
}

Result<GroupAffineWeight> read_group_affine(const Checkpoint& checkpoint, const std::string& linear,
                                            std::int64_t out, std::int64_t in,
                                            const WeightScheme& scheme) {
  const Result<StoredGroupAffine> stored =
      read_stored_group_affine(checkpoint, linear, out, in, scheme);
  if (!stored) return stored.error();
  return stored->unpack();
}

}  // namespace lowbit
