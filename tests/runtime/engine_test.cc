// Sequences of any lengths, cut and batched in any way, give what each gives alone.
#include "runtime/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "recipe/machine_file_system.h"
#include "runtime/golden.h"

namespace lowbit {
namespace {

using Tokens = std::vector<TokenId>;

// A small model of generated weights, whose activations are quantized: results are equal to the
// bit.
GeneratedModel small_model() {
  const auto config = parse_ordered_json(R"({"architectures": ["LlamaForCausalLM"],
      "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
      "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu",
      "rope_theta": 10000.0, "tie_word_embeddings": false})");
  return {.spec = read_model_spec(config.value()).value(),
          .weight = {.bits = 4, .group_size = 32},
          .activation = {.bits = 4, .group_size = 32},
          .head = {.bits = 8, .group_size = 32}};
}

Engine small_engine(const EngineOptions& options) {
  auto engine = Engine::generate(small_model(), options);
  EXPECT_TRUE(engine.ok());
  return std::move(*engine);
}

Tokens some_tokens(std::int64_t count, int seed = 1) {
  Tokens tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<TokenId>((i * 37 + seed * 11) % 300));
  }
  return tokens;
}

std::vector<float> extended(Engine& engine, KvSequence& sequence, const Tokens& tokens) {
  const Extension extension{&sequence, tokens};
  const auto logits = engine.extend({&extension, 1});
  EXPECT_TRUE(logits.ok()) << (logits.ok() ? "" : logits.error().message);
  return logits.ok() ? *logits : std::vector<float>{};
}

std::vector<float> alone(Engine& engine, const Tokens& tokens) {
  KvSequence sequence = engine.start();
  return extended(engine, sequence, tokens);
}

class EngineOfType : public ::testing::TestWithParam<KvType> {};

TEST_P(EngineOfType, ChunksAndSingleTokensGiveTheSameBits) {
  const Tokens tokens = some_tokens(150);
  Engine whole = small_engine({.kv = GetParam()});
  const auto expected = alone(whole, tokens);
  ASSERT_EQ(expected.size(), 300u);
  for (const std::int64_t chunk : {1, 7, 64}) {
    Engine cut = small_engine({.kv = GetParam(), .chunk_tokens = chunk});
    EXPECT_EQ(alone(cut, tokens), expected) << chunk;
  }
  KvSequence sequence = whole.start();
  std::vector<float> last;
  for (const TokenId token : tokens) last = extended(whole, sequence, {token});
  EXPECT_EQ(last, expected);
}

TEST_P(EngineOfType, ABatchOfUnequalSequencesGivesWhatEachGivesAlone) {
  Engine engine = small_engine({.kv = GetParam(), .chunk_tokens = 50});
  const std::vector<Tokens> texts = {some_tokens(3, 1), some_tokens(130, 2), some_tokens(1, 3)};
  std::vector<KvSequence> sequences;
  std::vector<Extension> batch;
  for (std::size_t i = 0; i < texts.size(); ++i) sequences.push_back(engine.start());
  for (std::size_t i = 0; i < texts.size(); ++i) batch.push_back({&sequences[i], texts[i]});
  const auto together = engine.extend(batch);
  ASSERT_TRUE(together.ok());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto row = std::span(*together).subspan(i * 300, 300);
    EXPECT_EQ(std::vector<float>(row.begin(), row.end()), alone(engine, texts[i])) << i;
  }
}

TEST_P(EngineOfType, ATruncatedSequenceGoesOnAsIfTheRestHadNeverBeen) {
  Engine engine = small_engine({.kv = GetParam()});
  const Tokens tokens = some_tokens(100);
  KvSequence sequence = engine.start();
  extended(engine, sequence, tokens);
  extended(engine, sequence, some_tokens(90, 9));
  sequence.truncate(70);
  EXPECT_EQ(sequence.length(), 70);
  EXPECT_EQ(extended(engine, sequence, Tokens(tokens.begin() + 70, tokens.end())),
            alone(engine, tokens));
}

INSTANTIATE_TEST_SUITE_P(, EngineOfType,
                         ::testing::Values(KvType::f32, KvType::f16, KvType::int8, KvType::int4),
                         [](const auto& test) { return std::string(name_of(test.param)); });

TEST(Engine, FewerBitsOfKeysAndValuesComeNearTheFloatCache) {
  const Tokens tokens = some_tokens(150);
  Engine exact = small_engine({.kv = KvType::f32});
  const auto expected = alone(exact, tokens);
  double size = 0;
  for (const float x : expected) size += double{x} * x;
  double last = 0;
  for (const auto& [type, bound] :
       {std::pair{KvType::f16, 0.05}, {KvType::int8, 0.1}, {KvType::int4, 0.6}}) {
    Engine engine = small_engine({.kv = type});
    const auto found = alone(engine, tokens);
    double difference = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      difference += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    }
    EXPECT_GT(difference, last) << name_of(type);  // none of them is float32 in disguise
    EXPECT_LT(std::sqrt(difference / size), bound) << name_of(type);
    last = difference;
  }
}

TEST(Engine, AFullCacheIsAnErrorAndLosesNothing) {
  Engine engine = small_engine({.kv = KvType::f16, .cache_positions = 128});
  const Tokens tokens = some_tokens(60);
  KvSequence first = engine.start();
  KvSequence second = engine.start();
  extended(engine, first, tokens);
  const Tokens more = some_tokens(70, 2);
  const std::vector<Extension> batch = {{&second, more}};
  const auto full = engine.extend(batch);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, "cache/full");
  EXPECT_EQ(full.error().kind, ErrorKind::environment);
  EXPECT_EQ(first.length(), 60);
  EXPECT_EQ(second.length(), 0);
  first.truncate(0);  // its page serves the other
  EXPECT_EQ(extended(engine, second, more).size(), 300u);
}

TEST(Engine, RefusesWhatDoesNotFitTheModel) {
  Engine engine = small_engine({});
  KvSequence sequence = engine.start();
  extended(engine, sequence, some_tokens(500));
  const auto code = [&](const Tokens& tokens) {
    const Extension extension{&sequence, tokens};
    const auto result = engine.extend({&extension, 1});
    return result.ok() ? std::string("none") : result.error().code;
  };
  EXPECT_EQ(code(some_tokens(20)), "runtime/too-long");
  EXPECT_EQ(code({5, 300}), "runtime/bad-token");
  EXPECT_EQ(code({-1}), "runtime/bad-token");
  EXPECT_EQ(code({}), "engine/no-tokens");
  EXPECT_EQ(sequence.length(), 500);
  EXPECT_EQ(code(some_tokens(12)), "none");
}

TEST(Engine, SaysHowMuchMemoryIsMissing) {
  MachineFileSystem machine;
  machine.system_files["/proc/meminfo"] = "MemTotal: 99 kB\nMemAvailable: 12 kB\n";
  const auto model = ReferenceModel::open(machine, test::model_folder("llama2"));
  ASSERT_TRUE(model.ok());
  const auto engine = Engine::load(*model, {});
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code, "engine/memory");
  EXPECT_THAT(engine.error().message, ::testing::HasSubstr("12288"));
}

TEST(Engine, FollowsTheFullForwardPassOfEveryFamily) {
  for (const char* name : {"llama31-rope", "mistral-window", "opt", "qwen2", "qwen3"}) {
    const ReferenceModel model = test::open_model(test::model_folder(name));
    const auto golden = test::read_golden(test::model_folder(name) / "golden.safetensors");
    auto engine = Engine::load(model, {.kv = KvType::f32, .chunk_tokens = 5});
    ASSERT_TRUE(engine.ok()) << name;
    const auto vocabulary = static_cast<std::size_t>(model.spec().vocabulary);
    const std::vector<float> expected(golden.logits.end() - static_cast<std::ptrdiff_t>(vocabulary),
                                      golden.logits.end());
    EXPECT_LT(test::largest_difference(alone(*engine, golden.tokens), expected), 1e-4) << name;
  }
}

}  // namespace
}  // namespace lowbit
