#include "calib/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "kernels/attention.h"

namespace lowbit {
namespace {

constexpr std::int64_t kTile = 256;  // queries: the scores of a tile stay in cache on the CPU

struct Tile {
  std::int64_t begin, end;  // queries
  std::int64_t first_key;   // keys [first_key, end)
  std::int64_t queries() const { return end - begin; }
  std::int64_t keys() const { return end - first_key; }
};

Tile tile_at(std::int64_t begin, std::int64_t tokens, const AttentionShape& shape) {
  const std::int64_t end = std::min(begin + kTile, tokens);
  const std::int64_t first =
      shape.window > 0 ? std::max<std::int64_t>(0, begin - shape.window + 1) : 0;
  return {begin, end, first};
}

// Probabilities of one tile, [kv_heads, group * queries, keys].
Tensor probabilities(const Tensor& q_tile, const Tensor& k_tile, const Tile& tile,
                     const AttentionShape& shape) {
  Tensor scores = at::bmm(q_tile, k_tile.transpose(1, 2)).mul_(shape.scale);
  const auto options = at::TensorOptions().device(q_tile.device()).dtype(at::kLong);
  const Tensor query = at::arange(tile.begin, tile.end, options).unsqueeze(1);
  const Tensor key = at::arange(tile.first_key, tile.end, options).unsqueeze(0);
  Tensor hidden = key.gt(query);
  if (shape.window > 0) hidden = hidden.logical_or(key.le(query - shape.window));
  // One addition of 0 or -inf for all heads is much cheaper than a masked fill.
  const Tensor mask =
      at::zeros({tile.queries(), tile.keys()}, q_tile.options()).masked_fill_(hidden, -INFINITY);
  scores.view({-1, tile.queries(), tile.keys()}).add_(mask);
  return at::softmax(scores, -1);
}

// [heads, tokens, d] -> the tile's queries grouped under their key head, [kv_heads, group *
// queries, d].
Tensor queries_of(const Tensor& q, const Tile& tile, std::int64_t kv_heads) {
  return q.slice(1, tile.begin, tile.end).reshape({kv_heads, -1, q.size(2)});
}

bool kernels_apply(const Tensor& q) {
  return q.is_cpu() && q.scalar_type() == at::kFloat && q.size(2) % 16 == 0;
}

// The first of `group` consecutive heads of [heads, tokens, head_dim] that belong to a key head.
float* head_of(const Tensor& heads, std::int64_t key_head, std::int64_t group) {
  return heads.data_ptr<float>() + key_head * group * heads.size(1) * heads.size(2);
}

AttentionView view_of(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t key_head,
                      const AttentionShape& shape) {
  const std::int64_t group = q.size(0) / k.size(0);
  return {.group = group,
          .tokens = q.size(1),
          .head_dim = q.size(2),
          .window = shape.window,
          .scale = static_cast<float>(shape.scale),
          .q = head_of(q, key_head, group),
          .k = head_of(k, key_head, 1),
          .v = head_of(v, key_head, 1)};
}

// Key heads over LibTorch's threads.
template <typename Body>
void for_each_key_head(std::int64_t heads, const Body& body) {
  at::parallel_for(0, heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t head = begin; head < end; ++head) body(head);
  });
}

class CausalAttention : public torch::autograd::Function<CausalAttention> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& q, const Tensor& k,
                        const Tensor& v, double scale, std::int64_t window) {
    const AttentionShape shape{.scale = scale, .window = window};
    Tensor out = at::empty_like(q);
    Tensor log_sums = at::empty({q.size(0), q.size(1)}, q.options());  // the kernels' alone
    context->save_for_backward({q, k, v, out, log_sums});
    context->saved_data["scale"] = scale;
    context->saved_data["window"] = window;
    if (kernels_apply(q)) {
      for_each_key_head(k.size(0), [&](std::int64_t head) {
        const std::int64_t group = q.size(0) / k.size(0);
        attention_forward(view_of(q, k, v, head, shape),
                          {.out = head_of(out, head, group),
                           .log_sums = log_sums.data_ptr<float>() + head * group * q.size(1)});
      });
      return out;
    }
    for (std::int64_t begin = 0; begin < q.size(1); begin += kTile) {
      const Tile tile = tile_at(begin, q.size(1), shape);
      const Tensor p = probabilities(queries_of(q, tile, k.size(0)),
                                     k.slice(1, tile.first_key, tile.end), tile, shape);
      const Tensor o = at::bmm(p, v.slice(1, tile.first_key, tile.end));
      out.slice(1, tile.begin, tile.end).copy_(o.view({q.size(0), tile.queries(), q.size(2)}));
    }
    return out;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list upstream) {
    const auto saved = context->get_saved_variables();
    const Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3];
    const AttentionShape shape{.scale = context->saved_data["scale"].toDouble(),
                               .window = context->saved_data["window"].toInt()};
    const Tensor g = upstream[0].contiguous();
    Tensor dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    if (kernels_apply(q)) {
      const std::int64_t group = q.size(0) / k.size(0);
      for_each_key_head(k.size(0), [&](std::int64_t head) {
        attention_backward(view_of(q, k, v, head, shape),
                           {.out = head_of(out, head, group),
                            .log_sums = saved[4].data_ptr<float>() + head * group * q.size(1),
                            .upstream = head_of(g, head, group),
                            .q = head_of(dq, head, group),
                            .k = head_of(dk, head, 1),
                            .v = head_of(dv, head, 1)});
      });
      return {dq, dk, dv, Tensor(), Tensor()};
    }
    for (std::int64_t begin = 0; begin < q.size(1); begin += kTile) {
      const Tile tile = tile_at(begin, q.size(1), shape);
      const Tensor q_tile = queries_of(q, tile, k.size(0));
      const Tensor g_tile = queries_of(g, tile, k.size(0));
      const Tensor k_tile = k.slice(1, tile.first_key, tile.end);
      const Tensor v_tile = v.slice(1, tile.first_key, tile.end);
      const Tensor p = probabilities(q_tile, k_tile, tile, shape);
      // d scores = p * (g v^T - rowsum(g * out))
      const Tensor row = (g_tile * queries_of(out, tile, k.size(0))).sum(2, true);
      Tensor ds = at::bmm(g_tile, v_tile.transpose(1, 2)).sub_(row).mul_(p).mul_(shape.scale);
      dv.slice(1, tile.first_key, tile.end).add_(at::bmm(p.transpose(1, 2), g_tile));
      dk.slice(1, tile.first_key, tile.end).add_(at::bmm(ds.transpose(1, 2), q_tile));
      dq.slice(1, tile.begin, tile.end)
          .copy_(at::bmm(ds, k_tile).view({q.size(0), tile.queries(), q.size(2)}));
    }
    return {dq, dk, dv, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, AttentionShape shape) {
  CHECK(q.size(0) % k.size(0) == 0);
  return CausalAttention::apply(q.contiguous(), k.contiguous(), v.contiguous(), shape.scale,
                                shape.window);
}

Tensor attention_received(const Tensor& q, const Tensor& k, AttentionShape shape) {
  CHECK(q.size(0) % k.size(0) == 0);
  Tensor received = at::zeros({q.size(1)}, q.options());
  for (std::int64_t begin = 0; begin < q.size(1); begin += kTile) {
    const Tile tile = tile_at(begin, q.size(1), shape);
    const Tensor p = probabilities(queries_of(q, tile, k.size(0)),
                                   k.slice(1, tile.first_key, tile.end), tile, shape);
    received.slice(0, tile.first_key, tile.end).add_(p.sum(at::IntArrayRef{0, 1}));
  }
  return received;
}

}  // namespace lowbit
