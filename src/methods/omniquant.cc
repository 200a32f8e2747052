#include "methods/omniquant.h"

#include "calib/turn.h"
#include "methods/learned_transform.h"

namespace lowbit {
namespace {

class PlaceLearner {
 public:
  PlaceLearner(BlockTask& task, const std::vector<LearnedPlace>& places)
      : task_(task), places_(places), start_(task.student), place_of_(task.linears.size()) {
    for (std::size_t p = 0; p < places.size(); ++p) {
      for (const std::size_t i : places[p].place.consumers) place_of_[i] = p;
      shift_of_.push_back(places[p].shifts ? places.size() + shifted_++ : 0);
    }
  }

  Status learn(const TransformTraining& training) {
    Tensors zeros(places_.size() + shifted_);
    for (std::size_t p = 0; p < places_.size(); ++p) {
      zeros[p] = at::zeros_like(places_[p].largest);
      if (places_[p].shifts) zeros[shift_of_[p]] = zeros[p].clone();
    }
    return learn_transform(
        task_, training,
        {.name = "scales",
         .parameters = zeros,
         .parts = [this](const Tensors& now) { return parts(now); },
         .weight = [this](std::size_t linear,
                          const Tensors& parts) { return weight(linear, parts); },
         .input = [this](std::size_t linear, const Tensor& x,
                         const Tensors& parts) { return input(linear, x, parts); },
         .biases = [this](const Tensors& parts) { return biases(parts); },
         .store = [this](const Tensors& parts) { store(parts); }});
  }

 private:
  // A scale of each place, and the shifts of those that have one.
  Tensors parts(const Tensors& now) const {
    Tensors parts(now.size());
    for (std::size_t p = 0; p < places_.size(); ++p) {
      parts[p] = now[p].exp();
      if (places_[p].shifts) parts[shift_of_[p]] = now[shift_of_[p]] * places_[p].largest;
    }
    return parts;
  }

  Tensor weight(std::size_t linear, const Tensors& parts) const {
    Tensor weight = start_.weight(linear);
    if (const auto p = place_of_[linear]) {
      weight = weight * spread(task_, places_[*p].place, parts[*p]);
    }
    return turned_weight(weight, task_.linears[linear].scheme.transform);
  }

  Tensor input(std::size_t linear, const Tensor& x, const Tensors& parts) const {
    Tensor input = x;
    if (const auto p = place_of_[linear]) {
      const auto& [place, largest, shifts] = places_[*p];
      if (shifts) input = input - spread(task_, place, parts[shift_of_[*p]]);
      input = input / spread(task_, place, parts[*p]);
    }
    return turned(input, task_.linears[linear].scheme.transform);
  }

  TorchBlock::Floats biases(const Tensors& parts) const {
    TorchBlock::Floats biases;
    for (std::size_t p = 0; p < places_.size(); ++p) {
      if (!places_[p].shifts) continue;
      biases.merge(shifted_biases(task_, start_, places_[p].place, parts[shift_of_[p]]));
    }
    return biases;
  }

  void store(const Tensors& parts) const {
    for (std::size_t p = 0; p < places_.size(); ++p) {
      if (places_[p].shifts) shift_input(task_, places_[p].place, parts[shift_of_[p]]);
      divide_input(task_, places_[p].place, parts[p]);
    }
  }

  BlockTask& task_;
  const std::vector<LearnedPlace>& places_;
  const TorchBlock start_;
  std::vector<std::optional<std::size_t>> place_of_;  // of each linear
  std::vector<std::size_t> shift_of_;                 // of each place with one, among the parts
  std::size_t shifted_ = 0;
};

}  // namespace

Status learn_places(BlockTask& task, const TransformTraining& training,
                    const std::vector<LearnedPlace>& places) {
  return PlaceLearner(task, places).learn(training);
}

}  // namespace lowbit
