// Our packed checkpoints in the hands of the format's own package: transformers loads them and must
// decode the same weights and compute the same logits. Needs Python packages; skipped without.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "format/rtn_checkpoint.h"
#include "format/value_grid.h"
#include "kernels/fake_quant.h"
#include "runtime/reference_model.h"

namespace lowbit {
namespace {

constexpr int kSkipped = 77;

LinearScheme weights(int bits, std::int64_t group_size, bool symmetric) {
  return {{.bits = bits, .group_size = group_size, .symmetric = symmetric}, {}};
}

struct PeerCase {
  const char* name;
  SchemeOf scheme_of;
  SchemeOf table_scheme_of = {};
  const char* source = "../shared/models/tiny-llama";
  const char* options = "";
};

void PrintTo(const PeerCase& peer, std::ostream* stream) { *stream << peer.name; }

class Peer : public testing::TestWithParam<PeerCase> {};

// Where inputs are quantized: some inputs of the first linear as they are and as we quantize them,
// and our logits of some tokens.
Status write_inputs(const Path& folder, const LinearScheme& scheme, const Path& file) {
  const Result<ReferenceModel> model = ReferenceModel::open(real_file_system(), folder);
  if (!model) return model.error();
  const LinearSpec linear = model->spec().block(0).q;
  const std::int64_t group =
      scheme.activation.whole_token() ? linear.in : scheme.activation.group_size;
  constexpr std::int64_t kTokens = 32;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> inputs(static_cast<std::size_t>(kTokens * linear.in)), quantized = inputs;
  for (auto i = static_cast<std::size_t>(linear.in); i < inputs.size();
       ++i) {  // the first token is zeros
    inputs[i] = normal(random) * std::exp(2 * normal(random));
  }
  fake_quant_activation(scheme.activation, group, 0, std::ssize(inputs) / group, inputs.data(),
                        quantized.data());
  std::vector<std::int32_t> tokens(16);
  for (std::int32_t& token : tokens) {
    token = static_cast<std::int32_t>(random() % static_cast<unsigned>(model->spec().vocabulary));
  }
  const std::vector<std::vector<TokenId>> windows = {{tokens.begin(), tokens.end()}};
  const auto states = model->final_states(windows, {});
  if (!states) return states.error();
  const Result<std::vector<float>> logits = model->logits(states->front());
  if (!logits) return logits.error();
  const auto bytes = [](const auto& values) { return std::as_bytes(std::span(values)); };
  const std::int64_t count = std::ssize(tokens);
  const std::vector<TensorToWrite> tensors = {
      {"inputs", DType::f32, {kTokens, linear.in}, bytes(inputs)},
      {"quantized_inputs", DType::f32, {kTokens, linear.in}, bytes(quantized)},
      {"input_ids", DType::i32, {count}, bytes(tokens)},
      {"logits", DType::f32, {count, model->spec().vocabulary}, bytes(*logits)}};
  return write_safetensors(real_file_system(), file, tensors);
}

TEST_P(Peer, LoadsWithTheSameWeightsAndLogits) {
  const Path source = Path(LOWBIT_SOURCE_DIR) / GetParam().source;
  if (!real_file_system().exists(source)) GTEST_SKIP() << "no " << GetParam().source;
  const Path folder = Path(testing::TempDir()) / (std::string("lowbit_peer_") + GetParam().name);
  const Path decoded = folder.string() + "_decoded.safetensors";
  const Status written = write_rtn_checkpoint(source, folder, decoded, GetParam().scheme_of,
                                              GetParam().table_scheme_of);
  ASSERT_TRUE(written) << written.error().message;

  std::string options = GetParam().options;
  const LinearScheme scheme = GetParam().scheme_of("model.layers.0.self_attn.q_proj");
  if (scheme.activation.quantized()) {
    const Path inputs = folder.string() + "_inputs.safetensors";
    const Status ours = write_inputs(folder, scheme, inputs);
    ASSERT_TRUE(ours) << ours.error().message;
    options += " --inputs '" + inputs.string() + "'";
  }

  const char* python = std::getenv("LOWBIT_PYTHON");
  const std::string command =
      std::string(python != nullptr ? python : "python3") + " '" +
      LOWBIT_SOURCE_DIR "/tests/format/peer/check_compressed_tensors.py' '" + folder.string() +
      "' '" + decoded.string() + "' --source '" + source.string() + "' " + options;
  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status)) << command;
  if (WEXITSTATUS(status) == kSkipped) {
    GTEST_SKIP() << "Python packages are missing: set LOWBIT_PYTHON to an interpreter with "
                    "transformers and compressed-tensors";
  }
  EXPECT_EQ(WEXITSTATUS(status), 0) << command;
}

LinearScheme values(WeightFormat format) { return {value_format(format)->scheme, {}}; }

LinearScheme both(WeightFormat format) {
  LinearScheme scheme{value_format(format)->scheme, input_scheme(*value_format(format))};
  if (scheme.activation.stores_scale()) scheme.activation.scale = global_scale_of(format, 16);
  return scheme;
}

LinearScheme mixed(const std::string& linear) {
  if (linear.find(".layers.0.") != std::string::npos) return weights(4, 32, false);
  if (linear.find(".layers.3.") != std::string::npos) return weights(4, 256, false);
  if (linear.ends_with("layers.2.mlp.down_proj")) return weights(16, 0, false);  // left as it is
  return weights(3, 128, true);
}

LinearScheme eight_bit_head(const std::string& table) {
  return weights(table == "lm_head" ? 8 : 16, 16, false);
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, Peer,
    testing::Values(PeerCase{"w4g128sym", [](auto&) { return weights(4, 128, true); }},
                    PeerCase{"w4g128asym", [](auto&) { return weights(4, 128, false); }},
                    PeerCase{"w3g64asym", [](auto&) { return weights(3, 64, false); }},
                    PeerCase{"w2g32asym", [](auto&) { return weights(2, 32, false); }},
                    PeerCase{"w8rowsym", [](auto&) { return weights(8, 0, true); }},
                    PeerCase{"w5rowasym", [](auto&) { return weights(5, 0, false); }},
                    PeerCase{"mixed", mixed},
                    PeerCase{"nvfp4",
                             [](auto&) { return values(WeightFormat::nvfp4); },
                             {},
                             "../shared/models/tiny-llama",
                             "--bfloat16"},
                    PeerCase{"mxfp4",
                             [](auto&) { return values(WeightFormat::mxfp4); },
                             {},
                             "../shared/models/tiny-llama",
                             "--bfloat16"},
                    PeerCase{"fp8", [](auto&) { return values(WeightFormat::fp8); }},
                    PeerCase{"nvfp4_inputs",
                             [](auto&) { return both(WeightFormat::nvfp4); },
                             {},
                             "../shared/models/tiny-llama",
                             "--bfloat16"},
                    PeerCase{"mxfp4_inputs",
                             [](auto&) { return both(WeightFormat::mxfp4); },
                             {},
                             "../shared/models/tiny-llama",
                             "--bfloat16"},
                    PeerCase{"fp8_inputs", [](auto&) { return both(WeightFormat::fp8); }},
                    PeerCase{"head", [](auto&) { return weights(4, 16, false); }, eight_bit_head,
                             "tests/data/models/llama2"},
                    // transformers does not load a packed embedding; the package decodes it.
                    PeerCase{"embedding", [](auto&) { return weights(4, 16, false); },
                             [](auto&) { return weights(4, 16, false); },
                             "tests/data/models/llama2", "--without-loading"},
                    PeerCase{"tied", [](auto&) { return weights(4, 128, false); },
                             [](auto&) { return weights(8, 128, false); },
                             "../shared/models/tiny-llama", "--without-loading"}),
    [](const auto& peer) { return std::string(peer.param.name); });

}  // namespace
}  // namespace lowbit
