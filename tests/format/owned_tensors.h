// One packed linear 'l' as tensors that a test may change, and the checkpoint that has them.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "format/packed_checkpoint.h"
#include "format/rtn_checkpoint.h"

namespace lowbit {

constexpr std::int64_t kOut = 12;
constexpr std::int64_t kIn = 96;

// A tensor that owns its bytes, so that a test may change it.
struct OwnedTensor {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

inline GroupAffineWeight some_weight(const WeightScheme& scheme, DType scale_type = DType::bf16) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < kOut * kIn; ++i) {
    values.push_back(std::sin(static_cast<float>(i * i % 1013)) + .3F);
  }
  return round_to_nearest(values, kOut, kIn, scheme, scale_type);
}

inline std::vector<OwnedTensor> tensors_of(const GroupAffineWeight& weight,
                                           const LinearScheme& scheme = {}) {
  const PackedTensors packed("l", weight, scheme);
  std::vector<OwnedTensor> result;
  for (const TensorToWrite& tensor : packed.tensors()) {
    result.push_back(
        {tensor.name, tensor.dtype, tensor.shape, {tensor.bytes.begin(), tensor.bytes.end()}});
  }
  return result;
}

inline OwnedTensor& named(std::vector<OwnedTensor>& tensors, std::string_view name) {
  for (OwnedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << "no " << name;
  return tensors.front();
}

inline Result<Checkpoint> written(const std::vector<OwnedTensor>& tensors) {
  const Path folder =
      Path(testing::TempDir()) / (std::string("lowbit_packed_") +
                                  testing::UnitTest::GetInstance()->current_test_info()->name());
  std::vector<TensorToWrite> list;
  for (const OwnedTensor& tensor : tensors) {
    list.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
  }
  FileSystem& files = real_file_system();
  EXPECT_TRUE(files.make_folders(folder));
  EXPECT_TRUE(write_whole(files, folder / "config.json", "{}"));
  EXPECT_TRUE(write_safetensors(files, folder / "model.safetensors", list));
  return Checkpoint::open(files, folder);
}

}  // namespace lowbit
