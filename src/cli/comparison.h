// The work of `compare`: several recipes on one model, each packed result measured against the
// source on one text.
//
// Two steps, so that whatever can be refused is refused before the first hour of work. What was
// done stays in the output folder: each packed model, and beside it what was measured
// (stored_comparison.h). The source's pass through the text is made once, when the first model is
// measured.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/stored_comparison.h"
#include "cli/text_windows.h"
#include "recipe/plan.h"

namespace lowbit {

struct ComparisonOptions {
  std::string model;
  Path output;
  std::optional<TextChoice> calibration;
  std::string device = "cpu";
  Path offload_dir;
  bool restart = false;                       // forget what is in the recipes' folders
  bool keep_packed = true;                    // or remove each packed model once it is measured
  std::vector<std::vector<TokenId>> windows;  // measured on
};

struct ComparedRecipe {
  std::string name;    // as the command line has it
  std::string folder;  // below the output folder
  Recipe recipe;
  std::optional<Plan> plan;
  std::string run;  // digest of all that decides the packed model
  StoredComparison stored;
  bool packed = false;    // by this run or an earlier one; `stored` is about it
  bool measured = false;  // on these windows
  std::optional<Error> error;
};

// Perplexity is not known until something was measured against the source.
struct ComparisonSource {
  std::optional<double> perplexity;
  StoredBits bits;
  std::uint64_t weight_bytes = 0;
};

class Comparison {
 public:
  // Plans every recipe and looks at what earlier runs left. A recipe that cannot be carries its
  // error; an Error is one of the source or of the whole.
  static Result<Comparison> prepare(ComparisonOptions options, std::vector<ComparedRecipe> recipes);
  // Does what is not done yet, one recipe after another. An Error ends it: an interrupt, or the
  // source's; that of a recipe stays with it.
  Status run();

  const std::vector<ComparedRecipe>& recipes() const { return recipes_; }
  Result<ComparisonSource> source() const;
  std::int64_t windows() const { return std::ssize(options_.windows); }
  const std::string& windows_sha256() const { return windows_sha256_; }

 private:
  Comparison(ComparisonOptions options, std::vector<ComparedRecipe> recipes,
             std::unique_ptr<ReferenceModel> source);
  Status plan(ComparedRecipe& recipe);
  Status quantize(ComparedRecipe& recipe);
  Status measure(ComparedRecipe& recipe);
  Status pass_source();
  Status discard_packed(const ComparedRecipe& recipe) const;
  Status store(const ComparedRecipe& recipe) const;
  Result<const CalibrationText*> calibration(const ComparedRecipe& recipe);
  Result<Journal::Inputs> text_inputs(const Recipe& recipe) const;
  Path packed_folder(const ComparedRecipe& recipe) const { return options_.output / recipe.folder; }

  ComparisonOptions options_;
  std::vector<ComparedRecipe> recipes_;
  std::unique_ptr<ReferenceModel> source_;  // source_pass_ points to it
  std::string windows_sha256_;
  std::optional<ReferencePass> source_pass_;
  std::map<std::string, CalibrationText> texts_;  // by what of a recipe decides them
};

}  // namespace lowbit
