// The tensors of one quantized linear: as they are written, and read back with every check.
#include "format/packed_checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <memory>

#include "base/half_float.h"
#include "format/value_grid.h"

namespace lowbit {
namespace {

std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }

template <typename T>
std::vector<T> values(std::span<const std::byte> bytes) {  // files give no alignment: copy
  std::vector<T> result(bytes.size() / sizeof(T));
  if (!result.empty()) std::memcpy(result.data(), bytes.data(), result.size() * sizeof(T));
  return result;
}

// Words of integers; bytes of a value format, in the order that the words have on disk.
DType code_type(const WeightScheme& scheme) {
  if (scheme.format == WeightFormat::integer) return DType::i32;
  return scheme.bits == 8 ? DType::f8_e4m3 : DType::u8;
}

std::string_view input_scale_part(const ActivationScheme& scheme) {
  return scheme.is_static() ? "input_scale" : "input_global_scale";
}

// The factors of an input's transform.
constexpr std::string_view kLeft = "input_left", kRight = "input_right";
constexpr std::string_view kLowRankLeft = "low_rank_left", kLowRankRight = "low_rank_right";

// `because`: why it has to be there.
Error missing_tensor(const Checkpoint& checkpoint, const std::string& name,
                     std::string_view because) {
  return bad_input("packed/missing-tensor",
                   fmt::format("{}: tensor '{}' is not in the checkpoint; the config says that {}",
                               checkpoint.folder().string(), name, because));
}

// A tensor [1] of any float type, above 0.
Result<float> read_single_scale(const Checkpoint& checkpoint, const std::string& name,
                                std::string_view because) {
  if (!checkpoint.has(name)) return missing_tensor(checkpoint, name, because);
  const auto scale = checkpoint.floats(name, {1});
  if (!scale) return scale.error();
  if (scale->front() <= 0.0F) {
    return bad_input("packed/bad-scale",
                     fmt::format("tensor '{}' is {}; a scale is above 0; the file is "
                                 "damaged or its writer is wrong",
                                 name, scale->front()));
  }
  return scale->front();
}

// A finite float16 matrix.
Result<std::vector<float>> read_half_matrix(const Checkpoint& checkpoint, const std::string& name,
                                            const std::vector<std::int64_t>& shape,
                                            std::string_view because) {
  if (!checkpoint.has(name)) return missing_tensor(checkpoint, name, because);
  const Result<Checkpoint::Tensor> found = checkpoint.tensor(name);
  if (!found) return found.error();
  if (found->info->dtype != DType::f16) {
    return bad_input("packed/wrong-dtype",
                     fmt::format("tensor '{}' is {}; expected {}", name,
                                 lowbit::name(found->info->dtype), lowbit::name(DType::f16)));
  }
  if (found->info->shape != shape) {
    return bad_input("packed/wrong-shape", fmt::format("tensor '{}' is {}; the config says {}",
                                                       name, found->info->shape, shape));
  }
  return checkpoint.floats(name, shape);
}

// Finds and checks the tensors of one linear; each function names the linear in its errors.
class PartsFinder {
 public:
  PartsFinder(const Checkpoint& checkpoint, const std::string& linear, std::int64_t out,
              std::int64_t in, const WeightScheme& scheme)
      : checkpoint_(checkpoint) {
    parts_.linear = linear;
    parts_.out = out;
    parts_.in = in;
    parts_.scheme = scheme;
    if (scheme.group_size == 0 || scheme.group_size > in) parts_.scheme.group_size = in;
  }

  Result<PackedParts> find() {
    if (Status status = check_scheme(); !status) return status.error();
    if (Status status = check_no_other_weight(); !status) return status.error();
    const ValueFormat* values = value_format(parts_.scheme.format);
    if (values == nullptr) {
      if (Status status = check_shape_tensor(); !status) return status.error();
    }
    const Result<Checkpoint::Tensor> codes =
        values == nullptr ? find_codes() : find_values(*values);
    if (!codes) return codes.error();
    parts_.codes = *codes;
    const bool narrow = values != nullptr && size_bytes(values->scale_type) == 1;
    const Result<Checkpoint::Tensor> scales = tensor(
        "weight_scale",
        narrow ? std::vector{values->scale_type} : std::vector{DType::bf16, DType::f16, DType::f32},
        {parts_.out, parts_.groups()});
    if (!scales) return scales.error();
    parts_.scales = *scales;
    if (values != nullptr && values->has_global_scale) {
      const Result<float> global_scale =
          read_single_scale(checkpoint_, name("weight_global_scale"), "its format has one");
      if (!global_scale) return global_scale.error();
      parts_.global_scale = *global_scale;
    }
    if (parts_.scheme.symmetric) return std::move(parts_);
    const Result<Checkpoint::Tensor> zeros =
        tensor("weight_zero_point", {DType::i32}, {zero_words(), parts_.groups()});
    if (!zeros) return zeros.error();
    parts_.zeros = *zeros;
    return std::move(parts_);
  }

 private:
  std::string name(std::string_view part) const {
    return fmt::format("{}.{}", parts_.linear, part);
  }

  Status check_scheme() const {
    if (parts_.scheme.bits < 2 || parts_.scheme.bits > 8) {
      return bad_input("packed/bad-config",
                       fmt::format("linear '{}': {} bits a weight; 2 to 8 can be read",
                                   parts_.linear, parts_.scheme.bits));
    }
    if (parts_.scheme.group_size <= 0 || parts_.in % parts_.scheme.group_size != 0) {
      return bad_input("packed/bad-config",
                       fmt::format("linear '{}': groups of {} do not divide its {} inputs",
                                   parts_.linear, parts_.scheme.group_size, parts_.in));
    }
    if (parts_.scheme.format != WeightFormat::integer && parts_.in * parts_.scheme.bits % 32 != 0) {
      return bad_input("packed/bad-config",
                       fmt::format("linear '{}': a row of {} {} values is no multiple of 4 bytes; "
                                   "such rows are not read",
                                   parts_.linear, parts_.in, describe(parts_.scheme)));
    }
    return {};
  }

  Status check_no_other_weight() const {
    if (checkpoint_.has(name("weight")) && checkpoint_.has(name("weight_packed"))) {
      return bad_input("packed/both-weights",
                       fmt::format("linear '{}' has both 'weight' and 'weight_packed'; one of them "
                                   "is left over from another export",
                                   parts_.linear));
    }
    if (checkpoint_.has(name("weight_g_idx"))) {
      return bad_input(
          "packed/unsupported-method",
          fmt::format("linear '{}' has 'weight_g_idx' (activation order by group), which "
                      "is not read; export it with actorder null or \"static\"",
                      parts_.linear));
    }
    return {};
  }

  Status check_shape_tensor() const {
    Result<Checkpoint::Tensor> shape = tensor("weight_shape", {DType::i64}, {2});
    if (!shape) return shape.error();
    const std::vector<std::int64_t> stored = values<std::int64_t>(shape->bytes);
    if (stored != std::vector<std::int64_t>{parts_.out, parts_.in}) {
      return bad_input("packed/wrong-shape",
                       fmt::format("tensor '{}' says {}; the model's config says [{}, {}]",
                                   name("weight_shape"), stored, parts_.out, parts_.in));
    }
    return {};
  }

  Result<Checkpoint::Tensor> tensor(std::string_view part, const std::vector<DType>& types,
                                    const std::vector<std::int64_t>& shape) const {
    if (!checkpoint_.has(name(part))) {
      return missing_tensor(checkpoint_, name(part), "this linear is quantized");
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
    const std::int64_t older = words_per_row_whole_codes(parts_.in, parts_.scheme.bits);
    const std::int64_t dense = words_per_row(parts_.in, parts_.scheme.bits);
    if (checkpoint_.has(name("weight_packed"))) {
      Result<Checkpoint::Tensor> found = checkpoint_.tensor(name("weight_packed"));
      if (!found) return found;
      parts_.whole_codes =
          older != dense && found->info->shape == std::vector<std::int64_t>{parts_.out, older};
    }
    return tensor("weight_packed", {DType::i32}, {parts_.out, parts_.whole_codes ? older : dense});
  }

  Result<Checkpoint::Tensor> find_values(const ValueFormat& values) const {
    return tensor(stored_parts(values.scheme).front(), {code_type(values.scheme)},
                  {parts_.out, parts_.in * values.scheme.bits / 8});
  }

  std::int64_t zero_words() const {
    return parts_.whole_codes ? words_per_row_whole_codes(parts_.out, parts_.scheme.bits)
                              : words_per_row(parts_.out, parts_.scheme.bits);
  }

  const Checkpoint& checkpoint_;
  PackedParts parts_;
};

std::vector<std::uint8_t> unpack_stream(std::span<const std::int32_t> words, std::int64_t rows,
                                        std::int64_t columns, int bits, bool dense) {
  return dense ? unpack_rows(words, rows, columns, bits)
               : unpack_rows_whole_codes(words, rows, columns, bits);
}

std::vector<std::uint8_t> unpack(const PackedParts& parts, std::span<const std::int32_t> words,
                                 std::int64_t rows, std::int64_t columns) {
  return unpack_stream(words, rows, columns, parts.scheme.bits, !parts.whole_codes);
}

// `count` scales from the `first` on, checked.
Result<std::vector<float>> read_scales(const PackedParts& parts, std::int64_t first,
                                       std::int64_t count) {
  const DType type = parts.scales.info->dtype;
  std::vector<float> scales = load_scales(
      parts.scales.bytes.subspan(index(first) * size_bytes(type), index(count) * size_bytes(type)),
      {type, parts.global_scale});
  const bool may_be_negative = size_bytes(type) > 1;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const bool sound = may_be_negative ? scales[i] != 0.0F : scales[i] > 0.0F;
    if (std::isfinite(scales[i]) && sound) continue;
    const std::int64_t at = first + static_cast<std::int64_t>(i);
    return bad_input("packed/bad-scale",
                     fmt::format("linear '{}': the scale of row {}, group {} is {}; scales are "
                                 "finite and {}; the file is damaged or its writer is wrong",
                                 parts.linear, at / parts.groups(), at % parts.groups(), scales[i],
                                 may_be_negative ? "not zero" : "above 0"));
  }
  return scales;
}

// Of whole rows from `first_row` on. The two codes of E4M3 that are no numbers.
Status check_codes(const PackedParts& parts, std::span<const std::byte> codes,
                   std::int64_t first_row) {
  if (parts.scheme.format != WeightFormat::fp8) return {};
  const auto bad = std::find_if(codes.begin(), codes.end(), [](std::byte code) {
    return (code & std::byte{0x7F}) == std::byte{0x7F};
  });
  if (bad == codes.end()) return {};
  const std::int64_t at = bad - codes.begin();
  return bad_input("packed/bad-code",
                   fmt::format("linear '{}': the code of row {}, column {} is NaN; weights are "
                               "numbers; the file is damaged or its writer is wrong",
                               parts.linear, first_row + at / parts.in, at % parts.in));
}

std::uint8_t middle_code(const WeightScheme& scheme) {
  return static_cast<std::uint8_t>(1U << (scheme.bits - 1));
}

std::vector<std::uint8_t> read_zeros(const PackedParts& parts) {
  const std::size_t groups = index(parts.groups());
  const std::size_t out = index(parts.out);
  if (!parts.zeros) return std::vector<std::uint8_t>(out * groups, middle_code(parts.scheme));
  // One stream down `out` for each group column: turn the words, unpack, turn the zeros back.
  const std::vector<std::int32_t> words = values<std::int32_t>(parts.zeros->bytes);
  const std::size_t rows = words.size() / groups;
  std::vector<std::int32_t> columns(words.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t group = 0; group < groups; ++group) {
      columns[group * rows + row] = words[row * groups + group];
    }
  }
  const std::vector<std::uint8_t> turned = unpack(parts, columns, parts.groups(), parts.out);
  std::vector<std::uint8_t> zeros(out * groups);
  for (std::size_t o = 0; o < out; ++o) {
    for (std::size_t group = 0; group < groups; ++group) {
      zeros[o * groups + group] = turned[group * out + o];
    }
  }
  return zeros;
}

// One zero point, from the one or two words of its group's stream that hold it.
int zero_at(const PackedParts& parts, std::int64_t row, std::int64_t group) {
  const int bits = parts.scheme.bits;
  if (!parts.zeros) return middle_code(parts.scheme);
  const auto word = [&](std::int64_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, parts.zeros->bytes.data() + 4 * index(at * parts.groups() + group), 4);
    return std::uint64_t{value};
  };
  const std::int64_t per_word = 32 / bits;
  const std::int64_t at = parts.whole_codes ? row / per_word : row * bits / 32;
  const std::int64_t shift = parts.whole_codes ? row % per_word * bits : row * bits % 32;
  std::uint64_t held = word(at);
  if (shift + bits > 32) held |= word(at + 1) << 32;
  return static_cast<int>(held >> shift & ((1U << bits) - 1U));
}

}  // namespace

std::string describe(const LinearScheme& scheme) {
  std::string text = describe(scheme.weight) + ", " + describe(scheme.activation);
  if (scheme.transform.any()) text += ", " + describe(scheme.transform);
  if (scheme.low_rank.any()) text += fmt::format(", rank {}", scheme.low_rank.rank);
  return text;
}

std::vector<std::string_view> stored_parts(const WeightScheme& scheme) {
  if (const ValueFormat* values = value_format(scheme.format)) {
    std::vector<std::string_view> parts = {scheme.bits == 8 ? "weight" : "weight_packed",
                                           "weight_scale"};
    if (values->has_global_scale) parts.emplace_back("weight_global_scale");
    return parts;
  }
  std::vector<std::string_view> parts = {"weight_packed", "weight_scale", "weight_shape"};
  if (!scheme.symmetric) parts.emplace_back("weight_zero_point");
  return parts;
}

Result<float> read_input_scale(const Checkpoint& checkpoint, const std::string& linear,
                               const ActivationScheme& scheme) {
  return read_single_scale(checkpoint, fmt::format("{}.{}", linear, input_scale_part(scheme)),
                           "this linear's input has a stored scale");
}

std::vector<std::string_view> stored_input_parts(const std::string& linear,
                                                 const LinearScheme& scheme) {
  std::vector<std::string_view> parts;
  if (scheme.activation.stores_scale()) parts.push_back(input_scale_part(scheme.activation));
  if (scheme.transform.kronecker.any() && scheme.transform.stored_with == linear) {
    parts.insert(parts.end(), {kLeft, kRight});
  }
  if (scheme.low_rank.any()) parts.insert(parts.end(), {kLowRankLeft, kLowRankRight});
  return parts;
}

Result<InputTransform> read_factors(const Checkpoint& checkpoint, InputTransform transform) {
  if (!transform.kronecker.any()) return transform;
  auto factors = std::make_shared<KroneckerFactors>();
  factors->size = transform.kronecker;
  const auto read = [&](std::string_view part, std::int64_t size) {
    return read_half_matrix(checkpoint, fmt::format("{}.{}", transform.stored_with, part),
                            {size, size}, "the factors of an input's transform are there");
  };
  auto read_left = read(kLeft, factors->size.left);
  if (!read_left) return std::move(read_left).error();
  auto read_right = read(kRight, factors->size.right);
  if (!read_right) return std::move(read_right).error();
  factors->left = *std::move(read_left);
  factors->right = *std::move(read_right);
  transform.factors = std::move(factors);
  return transform;
}

Status check_low_rank(const std::string& linear, const LowRank& low_rank, std::int64_t out,
                      std::int64_t in) {
  if (low_rank.rank <= std::min(out, in)) return {};
  return bad_input("packed/bad-config",
                   fmt::format("linear '{}': a low-rank pair of rank {}; its weight is [{}, {}], "
                               "whose rank is at most {}; the config is of another model",
                               linear, low_rank.rank, out, in, std::min(out, in)));
}

Result<LowRank> read_low_rank(const Checkpoint& checkpoint, const std::string& linear,
                              LowRank low_rank, std::int64_t out, std::int64_t in) {
  if (!low_rank.any()) return low_rank;
  if (Status s = check_low_rank(linear, low_rank, out, in); !s) return s.error();
  const auto read = [&](std::string_view part, std::int64_t rows, std::int64_t columns) {
    return read_half_matrix(checkpoint, fmt::format("{}.{}", linear, part), {rows, columns},
                            fmt::format("this linear has a pair of rank {}", low_rank.rank));
  };
  auto left = read(kLowRankLeft, out, low_rank.rank);
  if (!left) return std::move(left).error();
  auto right = read(kLowRankRight, low_rank.rank, in);
  if (!right) return std::move(right).error();
  low_rank.pair = std::make_shared<LowRankPair>(LowRankPair{*std::move(left), *std::move(right)});
  return low_rank;
}

PackedTensors::PackedTensors(const std::string& linear, const GroupAffineWeight& weight,
                             const LinearScheme& input)
    : linear_(linear),
      groups_(weight.groups()),
      scheme_{weight.bits, weight.group_size, weight.symmetric, weight.format},
      scale_grid_(weight.scale_type, weight.global_scale),
      packed_(pack(weight)),
      shape_{weight.out, weight.in},
      input_(input.activation) {
  const auto halves = [](const std::vector<float>& values) {
    std::vector<std::uint16_t> stored(values.size());
    std::transform(values.begin(), values.end(), stored.begin(), float_to_f16);
    return stored;
  };
  if (const auto& pair = input.low_rank.pair) {
    low_rank_left_ = halves(pair->left);
    low_rank_right_ = halves(pair->right);
  }
  const InputTransform& transform = input.transform;
  if (!transform.factors || transform.stored_with != linear) return;
  factors_ = transform.kronecker;
  left_ = halves(transform.factors->left);
  right_ = halves(transform.factors->right);
}

void PackedTensors::reserve(std::int64_t rows) {
  const auto grow = [&](auto& part) {
    part.reserve(part.size() * index(rows) / index(shape_[0]) + part.size());
  };
  grow(packed_.weight_packed);
  grow(packed_.weight_scale);
  grow(packed_.weight_zero_point);
}

void PackedTensors::append(const GroupAffineWeight& rows) {
  CHECK(shape_[0] % 32 == 0 && rows.in == shape_[1] && rows.groups() == groups_ &&
        rows.scale_type == scale_grid_.type && rows.global_scale == scale_grid_.global_scale);
  const PackedGroupAffine more = pack(rows);
  const auto join = [](auto& part, const auto& next) {
    part.insert(part.end(), next.begin(), next.end());
  };
  join(packed_.weight_packed, more.weight_packed);
  join(packed_.weight_scale, more.weight_scale);
  join(packed_.weight_zero_point, more.weight_zero_point);
  shape_[0] += rows.out;
}

std::vector<TensorToWrite> PackedTensors::tensors() const {
  const std::int64_t out = shape_[0];
  const auto rows_of = [](const std::vector<std::int32_t>& words, std::int64_t columns) {
    return static_cast<std::int64_t>(words.size()) / columns;
  };
  const DType type = code_type(scheme_);
  const auto per_word = static_cast<std::int64_t>(4 / size_bytes(type));
  const ValueFormat* values = value_format(scheme_.format);
  std::vector<TensorToWrite> result;
  result.push_back({fmt::format("{}.{}", linear_, stored_parts(scheme_).front()),
                    type,
                    {out, rows_of(packed_.weight_packed, out) * per_word},
                    std::as_bytes(std::span(packed_.weight_packed))});
  result.push_back(
      {linear_ + ".weight_scale", scale_grid_.type, {out, groups_}, packed_.weight_scale});
  if (!packed_.weight_zero_point.empty()) {
    result.push_back({linear_ + ".weight_zero_point",
                      DType::i32,
                      {rows_of(packed_.weight_zero_point, groups_), groups_},
                      std::as_bytes(std::span(packed_.weight_zero_point))});
  }
  if (values == nullptr) {
    result.push_back(
        {linear_ + ".weight_shape", DType::i64, {2}, std::as_bytes(std::span(shape_))});
  } else if (values->has_global_scale) {
    result.push_back({linear_ + ".weight_global_scale",
                      DType::f32,
                      {1},
                      std::as_bytes(std::span(&scale_grid_.global_scale, 1))});
  }
  if (input_.stores_scale()) {
    CHECK(input_.scale > 0);
    result.push_back({fmt::format("{}.{}", linear_, input_scale_part(input_)),
                      DType::f32,
                      {1},
                      std::as_bytes(std::span(&input_.scale, 1))});
  }
  const auto add_halves = [&](std::string_view part, const std::vector<std::uint16_t>& half,
                              std::int64_t rows) {
    if (half.empty()) return;
    result.push_back({fmt::format("{}.{}", linear_, part),
                      DType::f16,
                      {rows, std::ssize(half) / rows},
                      std::as_bytes(std::span(half))});
  };
  add_halves(kLeft, left_, factors_.left);
  add_halves(kRight, right_, factors_.right);
  add_halves(kLowRankLeft, low_rank_left_, out);
  add_halves(kLowRankRight, low_rank_right_, std::ssize(low_rank_right_) / shape_[1]);
  return result;
}

GroupAffineWeight StoredGroupAffine::unpack() const {
  return {.out = out,
          .in = in,
          .bits = bits,
          .group_size = group_size,
          .symmetric = symmetric,
          .format = format,
          .scale_type = scale_type,
          .global_scale = global_scale,
          .codes = unpack_stream(values<std::int32_t>(words), out, in, bits, dense),
          .scales = load_scales(scales, {scale_type, global_scale}),
          .zeros = zeros};
}

Result<StoredGroupAffine> read_stored_group_affine(const Checkpoint& checkpoint,
                                                   const std::string& linear, std::int64_t out,
                                                   std::int64_t in, const WeightScheme& scheme) {
  CHECK(out > 0 && in > 0);
  const Result<PackedParts> parts = PartsFinder(checkpoint, linear, out, in, scheme).find();
  if (!parts) return parts.error();
  const auto scales = read_scales(*parts, 0, out * parts->groups());
  if (!scales) return scales.error();
  if (Status status = check_codes(*parts, parts->codes.bytes, 0); !status) return status.error();
  StoredGroupAffine stored;
  stored.out = out;
  stored.in = in;
  stored.group_size = parts->scheme.group_size;
  stored.bits = scheme.bits;
  stored.symmetric = scheme.symmetric;
  stored.format = scheme.format;
  stored.global_scale = parts->global_scale;
  stored.scale_type = parts->scales.info->dtype;
  stored.dense = !parts->whole_codes;
  stored.words = parts->codes.bytes;
  stored.scales = parts->scales.bytes;
  stored.zeros = read_zeros(*parts);
  return stored;
}

Result<GroupAffineWeight> read_group_affine(const Checkpoint& checkpoint, const std::string& linear,
                                            std::int64_t out, std::int64_t in,
                                            const WeightScheme& scheme) {
  const Result<StoredGroupAffine> stored =
      read_stored_group_affine(checkpoint, linear, out, in, scheme);
  if (!stored) return stored.error();
  return stored->unpack();
}

Result<PackedRows> PackedRows::open(const Checkpoint& checkpoint, const std::string& linear,
                                    std::int64_t out, std::int64_t in, const WeightScheme& scheme) {
  CHECK(out > 0 && in > 0);
  Result<PackedParts> parts = PartsFinder(checkpoint, linear, out, in, scheme).find();
  if (!parts) return std::move(parts).error();
  return PackedRows(*std::move(parts));
}

Status PackedRows::decode(std::int64_t row, std::span<float> values_of_row) const {
  CHECK(row >= 0 && row < parts_.out && std::ssize(values_of_row) == parts_.in);
  const std::size_t row_bytes = parts_.codes.bytes.size() / index(parts_.out);
  const auto stored = parts_.codes.bytes.subspan(index(row) * row_bytes, row_bytes);
  if (Status status = check_codes(parts_, stored, row); !status) return status;
  const std::vector<std::int32_t> words = values<std::int32_t>(stored);
  const std::vector<std::uint8_t> codes = unpack(parts_, words, 1, parts_.in);
  const ValueGrid* grid = value_grid(parts_.scheme.format);
  const auto scales = read_scales(parts_, row * parts_.groups(), parts_.groups());
  if (!scales) return scales.error();
  for (std::int64_t group = 0; group < parts_.groups(); ++group) {
    const int zero = zero_at(parts_, row, group);
    const std::size_t first = index(group * parts_.scheme.group_size);
    for (std::size_t i = first; i < first + index(parts_.scheme.group_size); ++i) {
      const float value =
          grid != nullptr ? grid->value(codes[i]) : static_cast<float>(codes[i] - zero);
      values_of_row[i] = value * (*scales)[index(group)];
    }
  }
  return {};
}

}  // namespace lowbit
