#include "runtime/linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/threads.h"
#include "kernels/fake_quant.h"
#include "kernels/hadamard.h"
#include "kernels/kronecker.h"
#include "kernels/packed_product.h"
#include "runtime/blas.h"

namespace lowbit {
namespace {

Status load_bias(const Checkpoint& checkpoint, const LinearSpec& spec, LoadedLinear& linear) {
  const std::string name = spec.name + ".bias";
  if (!spec.bias) {
    if (!checkpoint.has(name)) return {};
    return bad_input("runtime/unexpected-bias",
                     fmt::format("{}: tensor '{}' is there, but config.json says that this linear "
                                 "has no bias; correct the one that is wrong",
                                 checkpoint.folder().string(), name));
  }
  auto bias = checkpoint.floats(name, {spec.out});
  if (!bias) return std::move(bias).error();
  linear.bias = std::move(*bias);
  return {};
}

// The groups in which the kernels take this weight and its activations: smaller than the weight's
// where those of its activations are. Nothing where they do not take them: groups that do not lie
// in one of the weight's, and sums of a group that might leave 32 bits (a zero point of activations
// may be 10000 steps away; bounds as in format/reference_product.cc). Of 4 bits that is a group of
// 13960, of 8 bits one of 821.
std::optional<std::int64_t> kernel_groups(const ActivationScheme& activation,
                                          const StoredGroupAffine& weight) {
  constexpr std::int64_t kLargestActivation = 10000 + 255;
  if (!activation.quantized()) return weight.group_size;
  const std::int64_t group = activation.whole_token() ? weight.group_size : activation.group_size;
  const std::int64_t largest_weight = (std::int64_t{1} << weight.bits) - 1;
  const bool fits = group * largest_weight * kLargestActivation <= INT32_MAX;
  if (weight.group_size % group != 0 || !fits) return std::nullopt;
  return group;
}

bool all_finite(std::span<const std::byte> halves, DType type) {
  const unsigned exponent = type == DType::f16 ? 0x7C00 : 0x7F80;
  unsigned bad = 0;
  for (std::size_t i = 0; i < halves.size(); i += 2) {
    std::uint16_t bits;
    std::memcpy(&bits, halves.data() + i, 2);
    bad |= (bits & exponent) == exponent ? 1U : 0U;
  }
  return bad == 0;
}

// A sound weight of 16 bits, as it is stored; nothing for any other.
std::optional<PackedWeight> arrange_stored(const Checkpoint& checkpoint, const LinearSpec& spec) {
  const auto stored = checkpoint.tensor(spec.name + ".weight");
  if (!stored || stored->info->shape != std::vector<std::int64_t>{spec.out, spec.in}) return {};
  const DType type = stored->info->dtype;
  if (type != DType::f16 && type != DType::bf16) return {};
  if (!all_finite(stored->bytes, type)) return {};
  return arrange(stored->bytes, spec.out, spec.in, type);
}

Status load_weight(const Checkpoint& checkpoint, const LinearSpec& spec, const LinearScheme* scheme,
                   Residence residence, LoadedLinear& linear) {
  const Result<Isa> isa = chosen_isa();
  if (!isa) return isa.error();
  linear.isa = *isa;
  if (scheme == nullptr || !scheme->weight.quantized()) {
    if (residence == Residence::resident && linear.isa != Isa::reference) {
      linear.arranged = arrange_stored(checkpoint, spec);
      if (linear.arranged) return {};
    }
    auto weight = checkpoint.floats(spec.name + ".weight", {spec.out, spec.in});
    if (!weight) return std::move(weight).error();
    linear.weight = std::move(*weight);
    return {};
  }
  if (Status s = check_transform(spec.name, scheme->transform, spec.in); !s) return s;
  const auto stored =
      read_stored_group_affine(checkpoint, spec.name, spec.out, spec.in, scheme->weight);
  if (!stored) return stored.error();
  linear.activation = scheme->activation;
  if (linear.activation.stores_scale()) {
    const Result<float> scale = read_input_scale(checkpoint, spec.name, linear.activation);
    if (!scale) return scale.error();
    linear.activation.scale = *scale;
  }
  Result<InputTransform> transform = read_factors(checkpoint, scheme->transform);
  if (!transform) return transform.error();
  linear.transform = *std::move(transform);
  const Result<LowRank> low_rank =
      read_low_rank(checkpoint, spec.name, scheme->low_rank, spec.out, spec.in);
  if (!low_rank) return low_rank.error();
  if (low_rank->pair) linear.low_rank.emplace(*low_rank->pair, low_rank->rank);
  const std::optional<std::int64_t> groups = kernel_groups(linear.activation, *stored);
  if (linear.isa != Isa::reference && groups) {
    linear.arranged = arrange(*stored, *groups);
    if (linear.arranged) return {};
  }
  if (linear.activation.has_codes()) {
    linear.packed = stored->unpack();
  } else {
    linear.weight = stored->unpack().dequantize();
  }
  return {};
}

void add_bias(const LoadedLinear& linear, std::span<float> y) {
  if (linear.bias.empty()) return;
  for (std::size_t i = 0; i < y.size(); i += linear.bias.size()) {
    for (std::size_t o = 0; o < linear.bias.size(); ++o) y[i + o] += linear.bias[o];
  }
}

void add_low_rank(const LoadedLinear& linear, LinearInput& x, std::span<float> y) {
  if (linear.low_rank) linear.low_rank->add(x.values(linear.transform), y);
}

}  // namespace

Result<LoadedLinear> load_linear(const Checkpoint& checkpoint, const LinearSpec& spec,
                                 const QuantizationMap& quantization, Residence residence) {
  LoadedLinear linear;
  linear.out = spec.out;
  linear.in = spec.in;
  Status loaded = load_weight(checkpoint, spec, quantization.find(spec.name), residence, linear);
  if (!loaded) return std::move(loaded).error();
  if (Status s = load_bias(checkpoint, spec, linear); !s) return std::move(s).error();
  return linear;
}

LinearInput::LinearInput(std::span<const float> x, std::int64_t in) : x_(x), in_(in) {
  CHECK(in > 0 && std::ssize(x) % in == 0);
}

std::span<const float> LinearInput::values(const InputTransform& transform) {
  if (!transform.any()) return x_;
  if (turned_.empty() || turned_by_ != transform) {
    turned_.assign(x_.begin(), x_.end());
    if (transform.factors) {
      kronecker_rows(turned_, *transform.factors);
    } else {
      hadamard_rows(turned_, transform.hadamard);
    }
    turned_by_ = transform;
  }
  return turned_;
}

void LinearInput::forget_other_than(const InputTransform& transform,
                                    const ActivationScheme& scheme) {
  if (transform_ == transform && scheme_ == scheme) return;
  codes_.reset();
  packed_codes_.reset();
  rounded_.clear();
  transform_ = transform;
  scheme_ = scheme;
}

std::span<const float> LinearInput::values(const InputTransform& transform,
                                           const ActivationScheme& scheme) {
  if (!scheme.quantized()) return values(transform);
  CHECK(!scheme.has_codes());
  forget_other_than(transform, scheme);
  if (rounded_.empty()) {
    const std::span<const float> from = values(transform);
    rounded_.resize(from.size());
    const std::int64_t group = scheme.whole_token() ? in_ : scheme.group_size;
    CHECK(in_ % group == 0);
    parallel_for(std::ssize(from) / group, std::max<std::int64_t>(1, 65536 / group),
                 [&](std::int64_t begin, std::int64_t end) {
                   fake_quant_activation(scheme, group, begin, end, from.data(), rounded_.data());
                 });
  }
  return rounded_;
}

const QuantizedActivations& LinearInput::codes(const InputTransform& transform,
                                               const ActivationScheme& scheme) {
  forget_other_than(transform, scheme);
  if (!codes_) codes_ = quantize_activations(values(transform), in_, scheme);
  return *codes_;
}

const PackedActivations& LinearInput::codes(const InputTransform& transform,
                                            const ActivationScheme& scheme,
                                            std::int64_t weight_group) {
  forget_other_than(transform, scheme);
  if (!packed_codes_ || packed_codes_->group_size != weight_group) {
    packed_codes_ = pack_activations(values(transform), in_, weight_group, scheme);
  }
  return *packed_codes_;
}

void apply(const LoadedLinear& linear, LinearInput& x, std::span<float> y) {
  const std::int64_t tokens = x.tokens();
  CHECK(x.in() == linear.in && std::ssize(y) == tokens * linear.out);
  if (!linear.packed && !linear.arranged) {
    linear_product(
        {x.values(linear.transform, linear.activation).data(), tokens, linear.in, linear.in},
        {linear.weight.data(), linear.out, linear.in, linear.in},
        linear.bias.empty() ? nullptr : linear.bias.data(),
        {y.data(), tokens, linear.out, linear.out});
    return add_low_rank(linear, x, y);
  }
  if (linear.packed) {
    reference_product(x.codes(linear.transform, linear.activation), *linear.packed, y);
  } else if (linear.activation.quantized()) {
    packed_product(linear.isa,
                   x.codes(linear.transform, linear.activation, linear.arranged->group_size),
                   *linear.arranged, y);
  } else {
    packed_product(linear.isa, x.values(linear.transform), *linear.arranged, y);
  }
  add_bias(linear, y);
  add_low_rank(linear, x, y);
}

void apply_all(std::span<const LinearOutput> outputs, LinearInput& x) {
  const LoadedLinear& first = *outputs.front().linear;
  const bool together =
      std::all_of(outputs.begin(), outputs.end(), [&](const LinearOutput& output) {
        const LoadedLinear& other = *output.linear;
        return first.arranged && other.arranged && other.isa == first.isa &&
               other.activation == first.activation && other.transform == first.transform &&
               (!first.activation.quantized() ||
                other.arranged->group_size == first.arranged->group_size);
      });
  if (!together) {
    for (const LinearOutput& output : outputs) apply(*output.linear, x, output.y);
    return;
  }
  std::vector<Product> products;
  for (const LinearOutput& output : outputs) {
    CHECK(x.in() == output.linear->in && std::ssize(output.y) == x.tokens() * output.linear->out);
    products.push_back({&*output.linear->arranged, output.y});
  }
  if (first.activation.quantized()) {
    packed_product(first.isa,
                   x.codes(first.transform, first.activation, first.arranged->group_size),
                   products);
  } else {
    packed_product(first.isa, x.values(first.transform), products);
  }
  for (const LinearOutput& output : outputs) {
    add_bias(*output.linear, output.y);
    add_low_rank(*output.linear, x, output.y);
  }
}

void apply(const LoadedLinear& linear, std::span<const float> x, std::span<float> y) {
  LinearInput input(x, linear.in);
  apply(linear, input, y);
}

}  // namespace lowbit
