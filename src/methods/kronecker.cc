#include "methods/kronecker.h"

#include <cmath>
#include <optional>

#include "base/half_float.h"
#include "calib/turn.h"
#include "methods/learned_transform.h"

namespace lowbit {
namespace {

// From float16, in which the entries of H / sqrt(n) are all off by the same share.
Tensor hadamard_start(const std::vector<float>& values, std::int64_t n, const at::Device& device) {
  const Tensor start = to_tensor(values, {n, n});
  const double off = std::sqrt(static_cast<double>(n)) / start.norm().item<double>();
  return (start * off).to(device);
}

std::vector<float> rounded(const Tensor& factor) {
  std::vector<float> values = to_floats(factor.detach());
  for (float& value : values) value = round_to_f16(value);
  return values;
}

// The factors of a block's inputs: left, right, left ...
class BlockFactors {
 public:
  explicit BlockFactors(BlockTask& task) : task_(task), begin_(task.linears.size()) {
    for (const LinearSet& set : task.student.spec().input_sets()) {
      const std::size_t begin = starts_.size();
      for (const std::size_t i : set) {
        const InputTransform& transform = task.linears[i].scheme.transform;
        if (!transform.kronecker.any()) continue;
        begin_[i] = begin;
        if (starts_.size() > begin) continue;
        const auto [left, right] = transform.kronecker;
        starts_.push_back(hadamard_start(transform.factors->left, left, task.device));
        starts_.push_back(hadamard_start(transform.factors->right, right, task.device));
      }
    }
  }

  Status learn(const TransformTraining& training) {
    Tensors skews;
    for (const Tensor& start : starts_) skews.push_back(at::zeros_like(start));
    return learn_transform(
        task_, training,
        {.name = "transforms",
         .parameters = skews,
         .parts = [this](const Tensors& now) { return factors(now); },
         .weight =
             [this](std::size_t linear, const Tensors& factors) {
               return turned_by(linear, task_.student.weight(linear), factors);
             },
         .input = [this](std::size_t linear, const Tensor& x,
                         const Tensors& factors) { return turned_by(linear, x, factors); },
         .biases = [](const Tensors&) { return TorchBlock::Floats(); },
         .store = [this](const Tensors& factors) { store(factors); }});
  }

 private:
  Tensors factors(const Tensors& skews) const {
    Tensors factors;
    for (std::size_t i = 0; i < skews.size(); ++i) {
      factors.push_back(cayley(skews[i]).matmul(starts_[i]));
    }
    return factors;
  }

  Tensor turned_by(std::size_t linear, const Tensor& x, const Tensors& factors) const {
    const std::optional<std::size_t> at = begin_[linear];
    return at ? kronecker_turned(x, factors[*at], factors[*at + 1]) : x;
  }

  // In the linears' schemes, in float16.
  void store(const Tensors& factors) const {
    std::vector<std::shared_ptr<const KroneckerFactors>> stored(factors.size());
    for (std::size_t i = 0; i < task_.linears.size(); ++i) {
      if (!begin_[i]) continue;
      InputTransform& transform = task_.linears[i].scheme.transform;
      auto& shared = stored[*begin_[i]];
      if (!shared) {
        shared = std::make_shared<KroneckerFactors>(
            KroneckerFactors{.size = transform.kronecker,
                             .left = rounded(factors[*begin_[i]]),
                             .right = rounded(factors[*begin_[i] + 1])});
      }
      transform.factors = shared;
    }
  }

  BlockTask& task_;
  Tensors starts_;
  std::vector<std::optional<std::size_t>> begin_;  // where those of each linear begin
};

}  // namespace

Tensor cayley(const Tensor& a) {
  const Tensor k = a - a.t();
  const Tensor one = at::eye(a.size(0), a.options());
  return at::linalg_inv(one + k).matmul(one - k);
}

BlockPass kronecker_pass(const RotateSpec& spec) {
  return [spec](BlockTask& task) { return BlockFactors(task).learn(spec.training); };
}

}  // namespace lowbit
