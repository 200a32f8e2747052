// A copy of a small model with tensors changed, added or left out, in a folder of its own.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "runtime/golden.h"
#include "support/temporary_folder.h"

namespace lowbit::test {

struct StoredTensor {
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

class AlteredModel {
 public:
  explicit AlteredModel(const std::string& source) {
    const auto checkpoint = Checkpoint::open(real_file_system(), model_folder(source));
    EXPECT_TRUE(checkpoint.ok());
    config = checkpoint->config();
    for (const std::string& name : checkpoint->names()) {
      const auto tensor = checkpoint->tensor(name).value();
      tensors[name] = {
          tensor.info->dtype, tensor.info->shape, {tensor.bytes.begin(), tensor.bytes.end()}};
    }
  }

  // The tensor as float32, in place.
  void set_floats(const std::string& name, const std::vector<std::int64_t>& shape,
                  const std::vector<float>& values) {
    StoredTensor tensor{DType::f32, shape, std::vector<std::byte>(values.size() * sizeof(float))};
    std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
    tensors[name] = tensor;
  }

  Path write() {
    std::vector<TensorToWrite> list;
    for (const auto& [name, tensor] : tensors) {
      list.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    }
    FileSystem& files = real_file_system();
    EXPECT_TRUE(write_safetensors(files, folder_.path() / "model.safetensors", list).ok());
    EXPECT_TRUE(write_whole(files, folder_.path() / "config.json", config.dump()).ok());
    return folder_.path();
  }

  OrderedJson config;
  std::map<std::string, StoredTensor> tensors;

 private:
  lowbit::testing::TemporaryFolder folder_;
};

}  // namespace lowbit::test
