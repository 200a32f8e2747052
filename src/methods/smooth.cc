#include "methods/smooth.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "calib/turn.h"
#include "methods/inputs.h"
#include "methods/omniquant.h"
#include "methods/place.h"
#include "methods/range.h"
#include "methods/static_range.h"

namespace lowbit {
namespace {

constexpr std::int64_t kWindows = 16;
constexpr std::int64_t kSampledTokens = 1024;  // over these windows
constexpr int kAlphas = 20;

struct Statistics {        // of an input, by channel
  Tensor low, high, mean;  // mean of |x|, summed over the windows
  std::vector<Tensor> sample;

  Tensor largest() const { return at::maximum(high, -low); }
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
      if (shifts(place)) center(place);
      const Statistics& inputs = statistics_[place.consumers.front()];
      const Tensor scale = scale_of(place, inputs);
      if (!scale.defined()) continue;
      divide_input(task_, place, scale);
      inputs.low.div_(spread(task_, place, scale));
      inputs.high.div_(spread(task_, place, scale));
    }
    if (auto status = task_.on_step(0, "smooth"); !status || !spec_.learns()) return status;
    std::vector<LearnedPlace> learned;
    for (const Place& place : places) {
      learned.push_back({.place = place, .largest = largest(place), .shifts = shifts(place)});
    }
    return learn_places(task_, spec_.training, learned);
  }

 private:
  // Undefined where nothing is to be done.
  Tensor scale_of(const Place& place, const Statistics& inputs) const {
    switch (spec_.method) {
      case SmoothMethod::smoothquant:
        return smoothquant(place);
      case SmoothMethod::awq:
      case SmoothMethod::omniquant:
        return awq(place, inputs);
      case SmoothMethod::fptq:
        return is_between(inputs) ? fptq_scale(largest(place)) : Tensor();
      case SmoothMethod::none:
        break;
    }
    return {};
  }

  // FPTQ's policy by the largest input.
  bool is_between(const Statistics& inputs) const {
    const double largest = inputs.largest().max().item<double>();
    return largest > spec_.plain_below && largest < spec_.dynamic_from;
  }

  void choose_static(const std::vector<Place>& places) {
    std::vector<bool> divisible(task_.linears.size());
    for (const Place& place : places) divisible[place.consumers.front()] = true;
    for (const LinearSet& set : task_.student.spec().input_sets()) {
      const Statistics& inputs = statistics_[set.front()];
      const bool plain = inputs.largest().max().item<double>() <= spec_.plain_below;
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
    std::vector<Place> places = norm_places(task_.student.spec());
    if (!spec_.linears) return places;
    for (Place& place : linear_places(task_.student.spec())) places.push_back(std::move(place));
    return places;
  }

  void observe() {
    statistics_.resize(task_.linears.size());
    const std::int64_t windows = std::min(kWindows, task_.train_windows);
    const std::int64_t tokens = std::max<std::int64_t>(1, kSampledTokens / windows);
    measure_inputs(
        task_, float_query(task_, windows, Basis::source),
        [&](const Tensor& x) {
          return Measured{x.amin(0), x.amax(0), x.abs().mean(0), sampled_tokens(x, tokens)};
        },
        [&](std::span<const std::size_t> alike, const Measured& found) {
          Statistics& s = statistics_[alike.front()];
          const bool first = s.sample.empty();
          s.low = first ? found[0] : at::minimum(s.low, found[0]);
          s.high = first ? found[1] : at::maximum(s.high, found[1]);
          s.mean = first ? found[2] : s.mean + found[2];
          s.sample.push_back(found[3]);
        });
  }

  Tensor largest(const Place& place) const {  // by what is shared
    return shared(task_, place, statistics_[place.consumers.front()].largest());
  }

  Tensor smoothquant(const Place& place) const {
    Tensor weight;
    for (const std::size_t i : place.consumers) {
      const Tensor largest = task_.student.weight(i).abs().amax(0);
      weight = weight.defined() ? at::maximum(weight, largest) : largest;
    }
    return smoothquant_scale(largest(place), shared(task_, place, weight), spec_.alpha);
  }

  Tensor awq(const Place& place, const Statistics& inputs) const {
    const Tensor x = at::cat(inputs.sample);
    std::vector<Tensor> outputs;
    for (const std::size_t i : place.consumers) {
      outputs.push_back(x.matmul(task_.student.weight(i).t()));
    }
    Tensor best = at::ones_like(shared(task_, place, inputs.mean));
    double least = error(place, x, outputs, best);
    for (int step = 1; step < kAlphas; ++step) {
      const Tensor scale =
          awq_scale(shared(task_, place, inputs.mean), static_cast<double>(step) / kAlphas);
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
    const Tensor by_column = spread(task_, place, scale);
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

  bool shifts(const Place& place) const {
    return spec_.method == SmoothMethod::omniquant && takes_shift(task_, place) &&
           task_.linears[place.consumers.front()].scheme.activation.quantized();
  }

  // The middle of each channel's range becomes 0.
  void center(const Place& place) {
    Statistics& inputs = statistics_[place.consumers.front()];
    const Tensor shift =
        (shared(task_, place, inputs.high) - shared(task_, place, -inputs.low)) / 2;
    shift_input(task_, place, shift);
    const Tensor by_column = spread(task_, place, shift);
    inputs.low.sub_(by_column);
    inputs.high.sub_(by_column);
    for (const Tensor& tokens : inputs.sample) tokens.sub_(by_column);
    inputs.mean = at::cat(inputs.sample).abs().mean(0);  // its size does not matter
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
