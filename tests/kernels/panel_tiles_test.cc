// The loops over matrix tiles with tiles in software, so that processors without them test the
// order of loads, the shapes and the corrections; packed_product_test has the real ones.
#include "kernels/panel_tiles.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/panel_views.h"
#include "kernels/random_product.h"
#include "kernels/vector_portable.h"

namespace lowbit {
namespace {

// As the manual defines the instructions, with every condition that raises an exception.
class SoftwareTiles {
 public:
  static void configure(const TileConfig& config) {
    ASSERT_EQ(config.palette, 1);
    for (int tile = 0; tile < 8; ++tile) {
      ASSERT_LE(config.rows[tile], 16);
      ASSERT_LE(config.row_bytes[tile], 64);
    }
    state() = {.ready = true, .config = config, .tiles = {}};
  }
  static void release() { state().ready = false; }

  template <int kTile>
  static void zero() {
    std::memset(used(kTile).data, 0, sizeof(Tile));
  }
  template <int kTile>
  static void load(const void* from, std::int64_t stride) {
    Tile& tile = used(kTile);
    std::memset(tile.data, 0, sizeof(Tile));
    for (int row = 0; row < rows(kTile); ++row) {
      std::memcpy(tile.data[row], static_cast<const char*>(from) + row * stride, bytes(kTile));
    }
  }
  template <int kTile>
  static void store(void* to, std::int64_t stride) {
    const Tile& tile = used(kTile);
    for (int row = 0; row < rows(kTile); ++row) {
      std::memcpy(static_cast<char*>(to) + row * stride, tile.data[row], bytes(kTile));
    }
  }
  template <int kTo, int kA, int kB>
  static void dot_signed() {
    dot(kTo, kA, kB, [](std::uint8_t byte) { return static_cast<std::int8_t>(byte); });
  }
  template <int kTo, int kA, int kB>
  static void dot_unsigned() {
    dot(kTo, kA, kB, [](std::uint8_t byte) { return byte; });
  }

 private:
  struct Tile {
    std::uint8_t data[16][64];
  };
  struct State {
    bool ready = false;
    TileConfig config;
    Tile tiles[8];
  };
  static State& state() {
    static State all;
    return all;
  }
  static int rows(int tile) { return state().config.rows[tile]; }
  static std::size_t bytes(int tile) { return state().config.row_bytes[tile]; }
  static Tile& used(int tile) {
    EXPECT_TRUE(state().ready && rows(tile) > 0 && bytes(tile) > 0) << "tile " << tile;
    return state().tiles[tile];
  }

  template <typename WidenB>
  static void dot(int to, int a, int b, const WidenB& widen) {
    ASSERT_EQ(rows(to), rows(a));
    ASSERT_EQ(bytes(to), bytes(b));
    ASSERT_EQ(bytes(a) / 4, static_cast<std::size_t>(rows(b)));
    for (int m = 0; m < rows(to); ++m) {
      for (std::size_t n = 0; n < bytes(to) / 4; ++n) {
        std::uint32_t sum;
        std::memcpy(&sum, used(to).data[m] + 4 * n, 4);
        for (std::size_t k = 0; k < bytes(a); ++k) {
          const int left = static_cast<std::int8_t>(used(a).data[m][k]);
          sum += static_cast<std::uint32_t>(left * widen(used(b).data[k / 4][4 * n + k % 4]));
        }
        std::memcpy(used(to).data[m] + 4 * n, &sum, 4);
      }
    }
  }
};

void expect_equal_to_reference(const Shape& shape, int bits, const ActivationScheme& scheme,
                               float center) {
  using Tiles = TilePanels<Portable, SoftwareTiles>;
  SCOPED_TRACE(::testing::Message()
               << shape.out << " x " << shape.in << ", group " << shape.group_size << ", tokens "
               << shape.tokens << ", center " << center);
  const GroupAffineWeight weight = random_weight(shape, bits, false, DType::bf16);
  const std::vector<float> x = random_input(shape, center);
  std::vector<float> expected(static_cast<std::size_t>(shape.tokens * shape.out));
  reference_product(quantize_activations(x, shape.in, scheme), weight, expected);

  const auto packed = arrange(weight);
  ASSERT_TRUE(packed);
  const PackedActivations codes = pack_activations(x, shape.in, shape.group_size, scheme);
  const PanelWeight w = view(*packed);
  AlignedVector<std::uint8_t> scratch(static_cast<std::size_t>(Tiles::scratch_bytes(w)));
  std::vector<float> found(expected.size(), -1.0F);
  const std::int64_t middle = packed->panels() / 2;  // as two threads would
  Tiles::integer(w, view(codes), 0, middle, scratch.data(), found.data());
  Tiles::integer(w, view(codes), middle, packed->panels(), scratch.data(), found.data());
  expect_same_bits(found, expected);
}

class PanelTiles : public ::testing::TestWithParam<int> {};  // bits of the weight

TEST_P(PanelTiles, EqualTheReferenceOnAllShapes) {
  for (const Shape& shape : {Shape{16, 32, 32, 5}, Shape{33, 192, 96, 33}, Shape{40, 128, 128, 16},
                             Shape{17, 144, 72, 7}, Shape{300, 64, 64, 8}, Shape{48, 4224, 128, 6},
                             Shape{80, 8192, 256, 5}, Shape{24, 4160, 4160, 5},
                             Shape{20, 256, 32, 70}, Shape{20, 64, 32, 300}}) {
    const int activation_bits = shape.tokens % 2 == 0 ? 4 : 8;
    for (const bool per_token : {false, true}) {
      const ActivationScheme scheme = activations(activation_bits, per_token, shape, false);
      expect_equal_to_reference(shape, GetParam(), scheme, 0.0F);
    }
  }
}

TEST_P(PanelTiles, EqualTheReferenceFarFromZero) {
  const Shape shape{50, 256, 128, 37};
  for (const float center : {-50.0F, 3.0F, 700.0F, 1e30F}) {
    for (const int activation_bits : {3, 4, 8}) {
      expect_equal_to_reference(shape, GetParam(),
                                activations(activation_bits, false, shape, false), center);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bits, PanelTiles, ::testing::Values(2, 3, 4, 5, 8));

}  // namespace
}  // namespace lowbit
