#include "methods/smooth.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "calib/turn.h"
#include "methods/inputs.h"
#include "methods/range.h"
#include "methods/static_range.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWindows = 16;
constexpr std::int64_t kSampledTokens = 1024;  // over these windows
constexpr int kAlphas = 20;

struct Statistics {
  Tensor largest, mean;  // |x| by channel
  std::vector<Tensor> sample;
};

// A set of linears with one input, and what makes that input: a norm, or rows of a linear.
struct Place {
  std::vector<std::size_t> consumers;
  const NormSpec* norm = nullptr;
  std::optional<std::size_t> linear;
};

class BlockSmoother {
 public:
  BlockSmoother(const SmoothSpec& spec, RangeMethod range, BlockTask& task)
      : spec_(spec), range_(range), task_(task) {}

  Status run() {
    observe();
    const std::vector<Place> places = smoothable();
    if (spec_.method == SmoothMethod::fptq) choose_static(places);
    for (const Place& place : places) {
      const Statistics& inputs = statistics_[place.consumers.front()];
      if (const Tensor scale = scale_of(place, inputs); scale.defined()) apply(place, scale);
    }
    return task_.on_step(0, "smooth");
  }

 private:
  // Undefined where nothing is to be done.
  Tensor scale_of(const Place& place, const Statistics& inputs) const {
    switch (spec_.method) {
      case SmoothMethod::smoothquant:
        return smoothquant(place, inputs);
      case SmoothMethod::awq:
        return awq(place, inputs);
      case SmoothMethod::fptq:
        return is_between(inputs) ? fptq_scale(shared(place, inputs.largest)) : Tensor();
      case SmoothMethod::none:
        break;
    }
    return {};
  }

  // FPTQ's policy by the largest input.
  bool is_between(const Statistics& inputs) const {
    const double largest = inputs.largest.max().item<double>();
    return largest > spec_.plain_below && largest < spec_.dynamic_from;
  }

  void choose_static(const std::vector<Place>& places) {
    std::vector<bool> divisible(task_.linears.size());
    for (const Place& place : places) divisible[place.consumers.front()] = true;
    for (const LinearSet& set : task_.student.spec().input_sets()) {
      const Statistics& inputs = statistics_[set.front()];
      const bool plain = inputs.largest.max().item<double>() <= spec_.plain_below;
      if (!plain && !(is_between(inputs) && divisible[set.front()])) continue;
      for (const std::size_t i : set) {
        task_.linears[i].scheme.activation.per = ActivationGranularity::tensor;
      }
    }
  }

  // A linear that stays in float is stored as the source has it, so nothing may move into it.
  std::vector<Place> smoothable() {
    std::vector<Place> kept;
    for (const Place& place : all_places()) {
      std::vector<std::size_t> touched = place.consumers;
      if (place.linear) touched.push_back(*place.linear);
      const auto in_float = std::find_if(touched.begin(), touched.end(), [&](std::size_t i) {
        return !task_.linears[i].scheme.weight.quantized();
      });
      if (in_float == touched.end()) {
        kept.push_back(place);
        continue;
      }
      task_.report.notices.push_back(
          fmt::format("the input of {} is not smoothed: {} stays in float",
                      task_.linears[place.consumers.front()].linear.name,
                      task_.linears[*in_float].linear.name));
    }
    return kept;
  }

  std::vector<Place> all_places() const {
    const BlockSpec& block = task_.student.spec();
    const auto sets = block.input_sets();
    std::vector<Place> places = {{sets[0], &block.attention_norm, {}},
                                 {sets[2], &block.ffn_norm, {}}};
    if (!spec_.linears) return places;
    constexpr std::size_t kV = 2, kUp = 5;
    places.push_back({sets[1], nullptr, kV});
    // A scale passes through the product with the gate, not through another activation.
    if (block.gate) places.push_back({sets[3], nullptr, kUp});
    return places;
  }

  void observe() {
    statistics_.resize(task_.linears.size());
    const std::int64_t windows = std::min(kWindows, task_.train_windows);
    const std::int64_t tokens = std::max<std::int64_t>(1, kSampledTokens / windows);
    measure_inputs(
        task_, float_query(task_, windows, Basis::source),
        [&](const Tensor& x) {
          return Measured{x.abs().amax(0), x.abs().mean(0), sampled_tokens(x, tokens)};
        },
        [&](std::span<const std::size_t> alike, const Measured& found) {
          Statistics& s = statistics_[alike.front()];
          s.largest = s.largest.defined() ? at::maximum(s.largest, found[0]) : found[0];
          s.mean = s.mean.defined() ? s.mean + found[1] : found[1];
          s.sample.push_back(found[2]);
        });
  }

  // The heads that share a key-value head share its channels' scales: one value for them all.
  Tensor shared(const Place& place, const Tensor& by_input) const {
    if (!place.linear) return by_input;
    const std::int64_t made = task_.student.weight(*place.linear).size(0);
    const std::int64_t copies = by_input.size(0) / made;
    return copies == 1 ? by_input : heads(by_input, copies).amax(1).reshape({made});
  }
  Tensor spread(const Place& place, const Tensor& scale) const {
    const std::int64_t in = task_.student.weight(place.consumers.front()).size(1);
    const std::int64_t copies = in / scale.size(0);
    if (copies == 1) return scale;
    const std::int64_t dim = task_.head_dim;
    return scale.view({-1, 1, dim}).expand({-1, copies, dim}).reshape({in});
  }
  Tensor heads(const Tensor& by_input, std::int64_t copies) const {
    return by_input.view({-1, copies, task_.head_dim});
  }

  Tensor smoothquant(const Place& place, const Statistics& inputs) const {
    Tensor weight;
    for (const std::size_t i : place.consumers) {
      const Tensor largest = task_.student.weight(i).abs().amax(0);
      weight = weight.defined() ? at::maximum(weight, largest) : largest;
    }
    return smoothquant_scale(shared(place, inputs.largest), shared(place, weight), spec_.alpha);
  }

  Tensor awq(const Place& place, const Statistics& inputs) const {
    const Tensor x = at::cat(inputs.sample);
    std::vector<Tensor> outputs;
    for (const std::size_t i : place.consumers) {
      outputs.push_back(x.matmul(task_.student.weight(i).t()));
    }
    Tensor best = at::ones_like(shared(place, inputs.mean));
    double least = error(place, x, outputs, best);
    for (int step = 1; step < kAlphas; ++step) {
      const Tensor scale =
          awq_scale(shared(place, inputs.mean), static_cast<double>(step) / kAlphas);
      const double found = error(place, x, outputs, scale);
      if (!(found < least)) continue;
      least = found;
      best = scale;
    }
    return best;
  }

  // Squared error of the consumers' outputs with everything quantized, each over its own power.
  double error(const Place& place, const Tensor& x, const std::vector<Tensor>& outputs,
               const Tensor& scale) const {
    const Tensor by_column = spread(place, scale);
    const Tensor input = x / by_column;
    double sum = 0;
    for (std::size_t k = 0; k < place.consumers.size(); ++k) {
      const std::size_t i = place.consumers[k];
      LinearScheme scheme = task_.linears[i].scheme;
      const Tensor in = turned(input, scheme.transform);
      if (scheme.activation.stores_scale()) {  // it is not known yet: that of the sample
        scheme.activation.scale = static_scale(in.abs().max().item<double>(), scheme.activation);
      }
      Tensor weight = turned_weight(task_.student.weight(i) * by_column, scheme.transform);
      if (scheme.weight.quantized()) {
        const GroupParameters p = choose_range(range_, weight, scheme.weight, in.square().mean(0));
        weight = fake_quant_weight(weight, p, scheme.weight);
      }
      const Tensor coded =
          scheme.activation.quantized() ? fake_quant_activation(in, scheme.activation) : in;
      const double power = outputs[k].square().sum().item<double>();
      const double lost = (coded.matmul(weight.t()) - outputs[k]).square().sum().item<double>();
      sum += power > 0 ? lost / power : 0;
    }
    return sum;
  }

  // The gain is rounded to bfloat16, which every stored type can hold, and the scale taken from
  // that, so that storing it changes nothing.
  void apply(const Place& place, Tensor scale) {
    const TorchBlock::Floats floats = task_.student.floats();
    if (place.norm != nullptr) {
      const std::string name = place.norm->name + ".weight";
      const Tensor gain = floats.at(name);
      const Tensor divided = (gain / scale).to(at::kBFloat16).to(at::kFloat);
      scale = at::where(divided.eq(0), at::ones_like(scale), gain / divided);
      const Tensor kept = at::where(divided.eq(0), gain, divided);
      task_.student.set_floats({{name, kept}});
      divide_bias(place.norm->name + ".bias", scale);
    } else {
      const std::size_t made = *place.linear;
      task_.student.set_weight(made, task_.student.weight(made) / scale.unsqueeze(1));
      divide_bias(task_.linears[made].linear.name + ".bias", scale);
    }
    const Tensor by_column = spread(place, scale);
    for (const std::size_t i : place.consumers) {
      task_.student.set_weight(i, task_.student.weight(i) * by_column);
    }
  }

  void divide_bias(const std::string& name, const Tensor& scale) {
    const TorchBlock::Floats floats = task_.student.floats();
    const auto found = floats.find(name);
    if (found != floats.end()) task_.student.set_floats({{name, found->second / scale}});
  }

  const SmoothSpec& spec_;
  RangeMethod range_;
  BlockTask& task_;
  std::vector<Statistics> statistics_;  // at the first linear of each set
};

}  // namespace

Tensor smoothquant_scale(const Tensor& largest_input, const Tensor& largest_weight, double alpha) {
  const Tensor weight = largest_weight.clamp_min(1e-5);
  const Tensor scale = (largest_input.pow(alpha) / weight.pow(1.0 - alpha)).clamp_min(1e-5);
  return at::where(largest_input.gt(0), scale, at::ones_like(scale));
}

Tensor fptq_scale(const Tensor& largest_input) {
  return at::where(largest_input.gt(0), largest_input / (largest_input + 2).log2(),
                   at::ones_like(largest_input));
}

Tensor awq_scale(const Tensor& mean_input, double alpha) {
  const Tensor alive = mean_input.gt(0);
  const Tensor scale = mean_input.pow(alpha).clamp_min(1e-4);
  const Tensor seen = scale.masked_select(alive);
  if (seen.numel() == 0) return at::ones_like(scale);
  const Tensor middle = (seen.max() * seen.min()).sqrt();
  return at::where(alive, scale / middle, at::ones_like(scale));
}

BlockPass smooth_pass(const SmoothSpec& spec, RangeMethod range) {
  return [spec, range](BlockTask& task) { return BlockSmoother(spec, range, task).run(); };
}

}  // namespace lowbit
