// The small models under tests/data/models, one for each family or option of one.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace lowbit::testing {

inline auto family_models() {
  return ::testing::Values("llama2", "llama2-biases", "llama31-rope", "llama-linear-rope",
                           "mistral-window", "qwen2", "qwen3", "opt");
}

inline std::string family_test_name(const ::testing::TestParamInfo<const char*>& model) {
  std::string name = model.param;
  std::erase_if(name, [](char letter) { return letter == '-'; });
  return name;
}

}  // namespace lowbit::testing
