// Attention over pages against the obvious loop, for every type of cache, on the values that the
// cache gives back.
#include "kernels/paged_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/half_float.h"
#include "kernels/packed_weight.h"
#include "support/normal_values.h"

namespace lowbit {
namespace {

struct Shape {
  std::int64_t positions, head_dim, group, window;
};

class Cache {
 public:
  Cache(KvPage page, std::int64_t positions) : page_(page) {
    for (std::int64_t at = 0; at < positions; at += kPagePositions) {
      pages_.emplace_back(static_cast<std::size_t>(page.bytes()));
    }
  }

  void store(std::int64_t position, const float* key, const float* value) {
    store_position(page_, position % kPagePositions, key, value,
                   pages_[static_cast<std::size_t>(position / kPagePositions)].data());
  }
  std::vector<const std::byte*> starts() const {
    std::vector<const std::byte*> starts;
    for (const auto& page : pages_) starts.push_back(page.data());
    return starts;
  }
  // Key and value of a position as the page gives them back.
  std::pair<std::vector<float>, std::vector<float>> read(std::int64_t position) const {
    std::vector<float> scratch(static_cast<std::size_t>(tile_floats(page_)));
    const KvTile tile = load_page(
        page_, pages_[static_cast<std::size_t>(position / kPagePositions)].data(), scratch.data());
    const std::int64_t at = position % kPagePositions;
    std::vector<float> key, value;
    for (std::int64_t d = 0; d < page_.head_dim; ++d) {
      key.push_back(tile.keys[d * kPagePositions + at]);
      value.push_back(tile.values[at * page_.row() + d]);
    }
    return {key, value};
  }

 private:
  KvPage page_;
  std::vector<AlignedVector<std::byte>> pages_;
};

// softmax(scale * q K^T) V of one query, in double.
using KeyAndValue = std::pair<std::vector<float>, std::vector<float>>;
std::vector<double> obvious(std::span<const KeyAndValue> seen, std::span<const float> query,
                            float scale) {
  std::vector<double> out(query.size());
  double sum = 0;
  for (const auto& [key, value] : seen) {
    double score = 0;
    for (std::size_t d = 0; d < key.size(); ++d) score += double{query[d]} * key[d];
    const double weight = std::exp(score * scale);
    sum += weight;
    for (std::size_t d = 0; d < key.size(); ++d) out[d] += weight * value[d];
  }
  for (double& x : out) x /= sum;
  return out;
}

void expect_attention(KvType type, const Shape& shape) {
  SCOPED_TRACE(std::string(name_of(type)) + " " + std::to_string(shape.positions) + "x" +
               std::to_string(shape.head_dim) + " group " + std::to_string(shape.group));
  const KvPage page{type, shape.head_dim};
  Cache cache(page, shape.positions);
  auto keys = normal_values(shape.positions * shape.head_dim, 1);
  const auto values = normal_values(shape.positions * shape.head_dim, 2);
  for (std::int64_t t = 0; t < shape.positions; ++t) {
    cache.store(t, keys.data() + t * shape.head_dim, values.data() + t * shape.head_dim);
  }
  const std::int64_t stride = shape.group * shape.head_dim + 3;
  const auto queries = normal_values(shape.positions * stride, 3);
  const auto pages = cache.starts();
  const float scale = 0.3F;
  PagedAttention whole{.page = page,
                       .group = shape.group,
                       .tokens = shape.positions,
                       .window = shape.window,
                       .scale = scale,
                       .q = queries.data(),
                       .stride = stride,
                       .pages = pages};
  std::vector<KeyAndValue> stored;
  for (std::int64_t t = 0; t < shape.positions; ++t) stored.push_back(cache.read(t));
  std::vector<float> out(queries.size()), piecewise(queries.size()), scratch;
  whole.out = out.data();
  attend_pages(whole, scratch);
  for (std::int64_t t = 0; t < shape.positions; ++t) {
    for (std::int64_t head = 0; head < shape.group; ++head) {
      const std::int64_t at = t * stride + head * shape.head_dim;
      std::vector<float> query(queries.begin() + at, queries.begin() + at + shape.head_dim);
      if (turns_keys(type)) hadamard(query.data(), shape.head_dim);
      const std::int64_t first =
          shape.window > 0 ? std::max<std::int64_t>(0, t - shape.window + 1) : 0;
      const auto seen = std::span(stored).subspan(static_cast<std::size_t>(first),
                                                  static_cast<std::size_t>(t + 1 - first));
      const auto expected = obvious(seen, query, scale);
      for (std::int64_t d = 0; d < shape.head_dim; ++d) {
        ASSERT_NEAR(out[static_cast<std::size_t>(at + d)], expected[static_cast<std::size_t>(d)],
                    2e-5)
            << "token " << t << " head " << head;
      }
    }
  }
  // One by one, and in odd cuts, to the bit.
  for (const std::int64_t cut : {1, 7}) {
    for (std::int64_t t = 0; t < shape.positions; t += cut) {
      PagedAttention some = whole;
      some.first = t;
      some.tokens = std::min(cut, shape.positions - t);
      some.q = queries.data() + t * stride;
      some.out = piecewise.data() + t * stride;
      attend_pages(some, scratch);
    }
    EXPECT_EQ(piecewise, out) << cut;
  }
}

TEST(PagedAttention, EqualsTheObviousLoopForEveryTypeOfCache) {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::int8, KvType::int4}) {
    for (const Shape& shape :
         {Shape{1, 16, 1, 0}, Shape{70, 64, 2, 0}, Shape{200, 128, 4, 0}, Shape{150, 10, 3, 0},
          Shape{150, 32, 1, 33}, Shape{130, 96, 7, 70}}) {
      expect_attention(type, shape);
    }
  }
}

TEST(PagedAttention, LargeScoresNeitherOverflowNorVanish) {
  const KvPage page{KvType::f32, 16};
  Cache cache(page, 2);
  const std::vector<float> large(16, 30.0F), small(16, -30.0F), first(16, 1.0F), second(16, 2.0F);
  cache.store(0, large.data(), first.data());
  cache.store(1, small.data(), second.data());
  std::vector<float> out(16), scratch;
  const auto pages = cache.starts();
  attend_pages({.page = page,
                .first = 1,
                .tokens = 1,
                .q = large.data(),
                .out = out.data(),
                .stride = 16,
                .pages = pages},
               scratch);
  for (const float x : out) EXPECT_EQ(x, 1.0F);
}

TEST(KvPage, GivesBackWhatItCanHold) {
  const auto x = normal_values(64 * 64, 5);
  const auto y = normal_values(64 * 64, 6);
  // Half a step of the range, and float16's rounding of scale and low.
  for (const auto& [type, bound] : {std::pair{KvType::f32, 0.0F},
                                    {KvType::f16, 1e-3F},
                                    {KvType::int8, 0.5F / 255 + 2e-3F / 3},
                                    {KvType::int4, 0.5F / 15 + 2e-3F / 3}}) {
    Cache cache({type, 64}, 64);
    for (std::int64_t t = 0; t < 64; ++t) cache.store(t, x.data() + t * 64, y.data() + t * 64);
    for (std::int64_t t = 0; t < 64; ++t) {
      const auto [key, value] = cache.read(t);
      const auto row = std::span(x).subspan(static_cast<std::size_t>(t * 64), 64);
      const auto [low, high] = std::minmax_element(row.begin(), row.end());
      for (std::size_t d = 0; d < 64; ++d) {
        ASSERT_NEAR(key[d], row[d], bound * (*high - *low)) << name_of(type);
        ASSERT_NEAR(value[d], y[static_cast<std::size_t>(t) * 64 + d], bound * 7);
      }
    }
  }
}

TEST(KvPage, TakesFourBitsWhereItSaysSo) {
  EXPECT_EQ((KvPage{KvType::f32, 128}.bytes()), 64 * 128 * 2 * 4);
  EXPECT_EQ((KvPage{KvType::f16, 128}.bytes()), 64 * 128 * 2 * 2);
  EXPECT_EQ((KvPage{KvType::int8, 128}.bytes()), 64 * 2 * (128 + 4));
  EXPECT_EQ((KvPage{KvType::int4, 128}.bytes()), 64 * 2 * (64 + 4));
}

TEST(KvPage, FlatAndHugeRowsAndNaN) {
  for (const KvType type : {KvType::int8, KvType::int4}) {
    Cache cache({type, 16}, 64);
    const std::vector<float> flat(16, -2.5F), huge(16, 3e38F);
    std::vector<float> broken(16, 1.0F);
    broken[3] = std::nanf("");
    cache.store(0, flat.data(), flat.data());
    cache.store(1, huge.data(), broken.data());
    EXPECT_EQ(cache.read(0).second, flat);
    for (const float x : cache.read(1).first) EXPECT_TRUE(std::isfinite(x));
    for (const float x : cache.read(1).second) EXPECT_TRUE(std::isnan(x));
  }
}

TEST(Hadamard, IsItsOwnInverseAndKeepsProducts) {
  for (const std::int64_t count : {1, 2, 64, 96, 80, 10}) {
    const auto x = normal_values(count, 8), y = normal_values(count, 9);
    auto turned_x = x, turned_y = y;
    hadamard(turned_x.data(), count);
    hadamard(turned_y.data(), count);
    double before = 0, after = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      before += double{x[i]} * y[i];
      after += double{turned_x[i]} * turned_y[i];
    }
    EXPECT_NEAR(before, after, 1e-4) << count;
    hadamard(turned_x.data(), count);
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(turned_x[i], x[i], 1e-5);
  }
}

TEST(KvType, HasNames) {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::int8, KvType::int4}) {
    EXPECT_EQ(kv_type_named(name_of(type)), type);
  }
  EXPECT_FALSE(kv_type_named("int2"));
}

}  // namespace
}  // namespace lowbit
