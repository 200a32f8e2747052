#include "calib/attention.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lowbit {
namespace {

// The obvious attention: all scores at once, autograd through everything.
Tensor plain_attention(const Tensor& q, const Tensor& k, const Tensor& v, AttentionShape shape) {
  const std::int64_t group = q.size(0) / k.size(0);
  const Tensor keys = k.repeat_interleave(group, 0);
  const Tensor values = v.repeat_interleave(group, 0);
  const Tensor row = at::arange(q.size(1)).unsqueeze(1);
  const Tensor column = at::arange(q.size(1)).unsqueeze(0);
  Tensor hidden = column.gt(row);
  if (shape.window > 0) hidden = hidden.logical_or(column.le(row - shape.window));
  const Tensor scores =
      at::bmm(q, keys.transpose(1, 2)).mul(shape.scale).masked_fill(hidden, -INFINITY);
  return at::bmm(at::softmax(scores, -1), values);
}

struct Case {
  std::int64_t heads, kv_heads, tokens, window;
};

class CausalAttention : public ::testing::TestWithParam<Case> {};

TEST_P(CausalAttention, EqualsThePlainOneForwardAndBackward) {
  const Case c = GetParam();
  at::manual_seed(7);
  std::vector<Tensor> inputs;
  for (const std::int64_t heads : {c.heads, c.kv_heads, c.kv_heads}) {
    inputs.push_back(at::randn({heads, c.tokens, 8}, at::kDouble).set_requires_grad(true));
  }
  const AttentionShape shape{.scale = 0.3, .window = c.window};
  const Tensor upstream = at::randn({c.heads, c.tokens, 8}, at::kDouble);
  const Tensor expected = plain_attention(inputs[0], inputs[1], inputs[2], shape);
  expected.backward(upstream);
  std::vector<Tensor> gradients;
  for (Tensor& input : inputs) {
    gradients.push_back(input.grad().clone());
    input.mutable_grad() = Tensor();
  }
  const Tensor found = causal_attention(inputs[0], inputs[1], inputs[2], shape);
  found.backward(upstream);
  EXPECT_TRUE(at::allclose(found, expected, 1e-10, 1e-12));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(at::allclose(inputs[i].grad(), gradients[i], 1e-9, 1e-11)) << "input " << i;
  }
}

// The CPU kernels (float32, heads of 16 or more) against the plain one in double.
TEST_P(CausalAttention, KernelsEqualThePlainOneForwardAndBackward) {
  const Case c = GetParam();
  for (const std::int64_t head_dim : {16, 80}) {
    at::manual_seed(9);
    std::vector<Tensor> exact;
    std::vector<Tensor> fast;
    for (const std::int64_t heads : {c.heads, c.kv_heads, c.kv_heads}) {
      const Tensor x = at::randn({heads, c.tokens, head_dim}, at::kFloat);
      exact.push_back(x.to(at::kDouble).set_requires_grad(true));
      fast.push_back(x.clone().set_requires_grad(true));
    }
    const AttentionShape shape{.scale = 0.25, .window = c.window};
    const Tensor upstream = at::randn({c.heads, c.tokens, head_dim}, at::kDouble);
    const Tensor expected = plain_attention(exact[0], exact[1], exact[2], shape);
    expected.backward(upstream);
    const Tensor found = causal_attention(fast[0], fast[1], fast[2], shape);
    found.backward(upstream.to(at::kFloat));
    EXPECT_TRUE(at::allclose(found.to(at::kDouble), expected, 1e-4, 1e-5));
    for (std::size_t i = 0; i < exact.size(); ++i) {
      EXPECT_TRUE(at::allclose(fast[i].grad().to(at::kDouble), exact[i].grad(), 1e-3, 1e-4))
          << "input " << i << ", head_dim " << head_dim;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalAttention,
                         ::testing::Values(Case{2, 2, 5, 0}, Case{4, 2, 300, 0},
                                           Case{4, 1, 600, 100}, Case{2, 2, 257, 1},
                                           Case{3, 3, 1, 0}));

}  // namespace
}  // namespace lowbit
