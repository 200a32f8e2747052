// What `compare` keeps of each recipe beside its packed model, so that the same command repeats
// neither: one small JSON file, written whole or not at all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "eval/evaluate.h"

namespace lowbit {

struct StoredComparison {
  std::string run;                         // digest of all that decided the packed model
  std::optional<double> quantize_seconds;  // none: the run ended before it could be noted
  bool resumed = false;                    // these are the seconds of the last of several runs
  std::uint64_t weight_bytes = 0;          // of the packed weight files
  std::string windows_sha256;              // of the tokens measured on; empty: not measured yet
  Evaluation evaluation;                   // against the source
};

// "paper/frm-w4a4" -> "paper-frm-w4a4", "tests/mine.toml" -> "mine": a folder below the output's.
std::string comparison_folder_name(const std::string& recipe);
Path stored_comparison_path(const Path& output, const std::string& folder_name);
std::string windows_sha256(std::span<const std::vector<TokenId>> windows);

// Nothing where there is no file. "compare/damaged-result": it is not what was written there.
Result<std::optional<StoredComparison>> read_stored_comparison(FileSystem& files, const Path& path);
Status write_stored_comparison(FileSystem& files, const Path& path, const StoredComparison& stored);

}  // namespace lowbit
