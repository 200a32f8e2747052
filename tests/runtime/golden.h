// Small models with reference values: ours under tests/data/models, and the shared ones.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/file.h"
#include "io/safetensors.h"
#include "runtime/reference_model.h"

namespace lowbit::test {

inline Path model_folder(const std::string& name) {
  return Path(LOWBIT_SOURCE_DIR) / "tests/data/models" / name;
}
inline Path shared_folder() { return Path(LOWBIT_SOURCE_DIR) / "../shared"; }

inline ReferenceModel open_model(const Path& folder) {
  Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), folder);
  if (!model) {
    ADD_FAILURE() << model.error().message;
    std::abort();
  }
  return std::move(*model);
}

template <typename T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const auto bytes = file.bytes(*file.find(name));
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct GoldenLogits {
  std::vector<TokenId> tokens;
  std::vector<float> logits;  // [tokens, vocabulary]
};

inline GoldenLogits read_golden(const Path& path) {
  auto file = SafetensorsFile::open(real_file_system(), path);
  EXPECT_TRUE(file.ok()) << path;
  GoldenLogits golden;
  if (file->find("input_ids")->dtype == DType::i32) {
    golden.tokens = values_of<std::int32_t>(*file, "input_ids");
  } else {
    for (const std::int64_t id : values_of<std::int64_t>(*file, "input_ids")) {
      golden.tokens.push_back(static_cast<TokenId>(id));
    }
  }
  golden.logits = values_of<float>(*file, "logits");
  return golden;
}

inline std::vector<float> logits_of(const ReferenceModel& model,
                                    const std::vector<TokenId>& tokens) {
  const std::vector<std::vector<TokenId>> windows = {tokens};
  const auto states = model.final_states(windows, {});
  EXPECT_TRUE(states.ok()) << (states.ok() ? "" : states.error().message);
  if (!states) return {};
  auto logits = model.logits(states->front());
  EXPECT_TRUE(logits.ok());
  return logits.ok() ? *logits : std::vector<float>{};
}

// The largest absolute difference; infinite when a value is not finite or the sizes differ.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
  }
  return largest;
}

}  // namespace lowbit::test
