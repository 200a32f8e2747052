// Rotary positions: the two ways that config.json states them, and the frequencies that follow.
#include <cmath>
#include <numbers>

#include "model/llama_layout.h"

namespace lowbit {
namespace {

constexpr double kDefaultTheta = 10000.0;

// A scaling object: {"rope_type" or "type": "linear", "factor": 2.0, ...}.
void read_scaling(ConfigReader& scaling, std::int64_t max_positions, RopeSpec& rope) {
  const std::string_view key = scaling.has_value("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.text_or(key, "default");
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
    rope.factor = scaling.positive("factor", kMaxRopeFactor);
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::llama3;
    rope.factor = scaling.positive("factor", kMaxRopeFactor);
    rope.low_frequency_factor = scaling.positive("low_freq_factor", kMaxRopeFactor);
    rope.high_frequency_factor = scaling.positive("high_freq_factor", kMaxRopeFactor);
    rope.original_max_positions =
        scaling.count_or("original_max_position_embeddings", kMaxPositions, max_positions);
    if (rope.high_frequency_factor <= rope.low_frequency_factor) {
      scaling.bad_value("high_freq_factor", "a number above low_freq_factor");
    }
  } else if (type != "default") {
    scaling.unsupported(key, "'default', 'linear', 'llama3'");
  }
  if (scaling.positive_or("partial_rotary_factor", 1.0, 1.0) != 1.0) {
    scaling.unsupported("partial_rotary_factor", "1.0");
  }
}

double llama3_frequency(const RopeSpec& rope, double frequency) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(rope.original_max_positions);
  if (wavelength < original / rope.high_frequency_factor) return frequency;
  if (wavelength > original / rope.low_frequency_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_frequency_factor) /
                        (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1.0 - smooth) * frequency / rope.factor + smooth * frequency;
}

}  // namespace

RopeSpec read_rope(ConfigReader& config, std::int64_t max_positions) {
  RopeSpec rope;
  const OrderedJson* parameters = config.object_at("rope_parameters");
  const OrderedJson* scaling = config.object_at("rope_scaling");
  if (parameters != nullptr && scaling != nullptr && *parameters != *scaling) {
    config.unsupported("rope_scaling", "the same as in 'rope_parameters', or one of the two");
  }
  const OrderedJson* stated = parameters != nullptr ? parameters : scaling;
  rope.theta = config.positive_or("rope_theta", kMaxRopeTheta, kDefaultTheta);
  if (config.positive_or("partial_rotary_factor", 1.0, 1.0) != 1.0) {
    config.unsupported("partial_rotary_factor", "1.0");
  }
  if (stated == nullptr) return rope;

  ConfigReader inner(*stated, parameters != nullptr ? "config.json: rope_parameters"
                                                    : "config.json: rope_scaling");
  rope.theta = inner.positive_or("rope_theta", kMaxRopeTheta, rope.theta);
  read_scaling(inner, max_positions, rope);
  if (Status status = inner.status(); !status) config.fail(std::move(status).error());
  return rope;
}

std::vector<float> RopeSpec::inverse_frequencies(std::int64_t head_dim) const {
  std::vector<float> result(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t pair = 0; pair < result.size(); ++pair) {
    const double exponent = 2.0 * static_cast<double>(pair) / static_cast<double>(head_dim);
    double frequency = std::pow(theta, -exponent);
    if (scaling == RopeScaling::linear) frequency /= factor;
    if (scaling == RopeScaling::llama3) frequency = llama3_frequency(*this, frequency);
    result[pair] = static_cast<float>(frequency);
  }
  return result;
}

}  // namespace lowbit
