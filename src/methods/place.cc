#include "methods/place.h"

#include <algorithm>

namespace lowbit {
namespace {

constexpr std::size_t kV = 2, kUp = 5;  // among the linears of a block with a gate

std::string bias_of(const BlockTask& task, const Place& place) {
  return (place.norm != nullptr ? place.norm->name : task.linears[*place.linear].linear.name) +
         ".bias";
}

}  // namespace

std::vector<Place> norm_places(const BlockSpec& block) {
  const auto sets = block.input_sets();
  return {{.consumers = sets[0], .norm = &block.attention_norm, .linear = {}},
          {.consumers = sets[2], .norm = &block.ffn_norm, .linear = {}}};
}

std::vector<Place> linear_places(const BlockSpec& block) {
  const auto sets = block.input_sets();
  std::vector<Place> places = {{.consumers = sets[1], .linear = kV}};
  if (block.gate) places.push_back({.consumers = sets[3], .linear = kUp, .through_gate = true});
  return places;
}

Tensor shared(const BlockTask& task, const Place& place, const Tensor& by_input) {
  if (!place.linear) return by_input;
  const std::int64_t made = task.student.weight(*place.linear).size(0);
  const std::int64_t copies = by_input.size(0) / made;
  if (copies == 1) return by_input;
  return by_input.view({-1, copies, task.head_dim}).amax(1).reshape({made});
}

Tensor spread(const BlockTask& task, const Place& place, const Tensor& by_channel) {
  const std::int64_t in = task.student.weight(place.consumers.front()).size(1);
  const std::int64_t copies = in / by_channel.size(0);
  if (copies == 1) return by_channel;
  const std::int64_t dim = task.head_dim;
  return by_channel.view({-1, 1, dim}).expand({-1, copies, dim}).reshape({in});
}

bool takes_shift(const BlockTask& task, const Place& place) {
  return !place.through_gate && task.student.floats().contains(bias_of(task, place)) &&
         std::all_of(place.consumers.begin(), place.consumers.end(),
                     [&](std::size_t i) { return task.student.bias(i).defined(); });
}

TorchBlock::Floats shifted_biases(const BlockTask& task, const TorchBlock& block,
                                  const Place& place, const Tensor& shift) {
  const Tensor by_column = spread(task, place, shift);
  TorchBlock::Floats biases;
  for (const std::size_t i : place.consumers) {
    biases[task.linears[i].linear.name + ".bias"] =
        block.bias(i) + block.weight(i).matmul(by_column);
  }
  return biases;
}

void shift_input(const BlockTask& task, const Place& place, const Tensor& shift) {
  const std::string name = bias_of(task, place);
  const Tensor made = task.student.floats().at(name);
  task.student.set_floats(shifted_biases(task, task.student, place, shift));
  task.student.set_floats({{name, made - shift}});
}

// The gain is rounded to bfloat16, which every stored type can hold, and the scale taken from
// that, so that storing it changes nothing.
void divide_input(const BlockTask& task, const Place& place, Tensor scale) {
  const TorchBlock::Floats floats = task.student.floats();
  if (place.norm != nullptr) {
    const std::string name = place.norm->name + ".weight";
    const Tensor gain = floats.at(name);
    const Tensor divided = (gain / scale).to(at::kBFloat16).to(at::kFloat);
    scale = at::where(divided.eq(0), at::ones_like(scale), gain / divided);
    task.student.set_floats({{name, at::where(divided.eq(0), gain, divided)}});
  } else {
    const std::size_t made = *place.linear;
    task.student.set_weight(made, task.student.weight(made) / scale.unsqueeze(1));
  }
  const auto bias = floats.find(bias_of(task, place));
  if (bias != floats.end()) task.student.set_floats({{bias->first, bias->second / scale}});
  const Tensor by_column = spread(task, place, scale);
  for (const std::size_t i : place.consumers) {
    task.student.set_weight(i, task.student.weight(i) * by_column);
  }
}

}  // namespace lowbit
