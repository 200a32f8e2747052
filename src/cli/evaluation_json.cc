#include "cli/evaluation_json.h"

#include <limits>

#include "cli/output.h"

namespace lowbit {
namespace {

OrderedJson measured_or_null(const std::optional<double>& value) {
  return value ? number_or_null(*value) : OrderedJson(nullptr);
}

// Takes the members of a JSON object one by one; the first that is not as expected is kept.
class Members {
 public:
  explicit Members(const OrderedJson& json) : json_(json) {}

  std::optional<double> number_or_none(const char* key) {
    const auto found = json_.find(key);
    if (found != json_.end() && found->is_null()) return std::nullopt;
    if (found != json_.end() && found->is_number()) return found->get<double>();
    if (bad_.empty()) bad_ = key;
    return std::nullopt;
  }
  double number(const char* key) {
    return number_or_none(key).value_or(std::numeric_limits<double>::infinity());
  }
  Status status() const {
    if (bad_.empty()) return {};
    return bad_input("eval/bad-json", "an evaluation whose '" + bad_ + "' is missing or no number");
  }

 private:
  const OrderedJson& json_;
  std::string bad_;
};

}  // namespace

OrderedJson evaluation_json(const Evaluation& evaluation) {
  return {{"perplexity", number_or_null(evaluation.perplexity)},
          {"windows", evaluation.windows},
          {"reference_perplexity", measured_or_null(evaluation.reference_perplexity)},
          {"kl", measured_or_null(evaluation.kl)},
          {"kl_standard_error", measured_or_null(evaluation.kl_standard_error)},
          {"top1_agreement", measured_or_null(evaluation.top1_agreement)},
          {"bits_per_weight", number_or_null(evaluation.bits_per_weight)},
          {"model_bits_per_weight", number_or_null(evaluation.model_bits_per_weight)},
          {"seconds", number_or_null(evaluation.seconds)}};
}

Result<Evaluation> read_evaluation(const OrderedJson& json) {
  Members members(json);
  Evaluation evaluation;
  evaluation.perplexity = members.number("perplexity");
  const double windows = members.number("windows");
  evaluation.reference_perplexity = members.number_or_none("reference_perplexity");
  evaluation.kl = members.number_or_none("kl");
  evaluation.kl_standard_error = members.number_or_none("kl_standard_error");
  evaluation.top1_agreement = members.number_or_none("top1_agreement");
  evaluation.bits_per_weight = members.number("bits_per_weight");
  evaluation.model_bits_per_weight = members.number("model_bits_per_weight");
  evaluation.seconds = members.number("seconds");
  if (Status whole = members.status(); !whole) return whole.error();
  if (!(windows >= 1 && windows <= 1e15)) {
    return bad_input("eval/bad-json", "an evaluation whose 'windows' is no count");
  }
  evaluation.windows = static_cast<std::int64_t>(windows);
  return evaluation;
}

}  // namespace lowbit
