// Reads a model folder back as a whole: sums of files, every tensor, every packed linear decoded,
// nothing missing, nothing unknown. Damage is listed, not returned at the first find.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "io/json.h"

namespace lowbit {

struct VerifyReport {
  std::string folder;
  std::int64_t files_summed = 0;
  std::int64_t tensors_read = 0;
  std::int64_t linears_decoded = 0;
  std::uint64_t bytes_read = 0;
  std::vector<Error> problems;         // each names its file or tensor; at most kProblemsLimit
  std::int64_t problems_left_out = 0;  // found beyond the limit
  std::vector<std::string> notes;      // what was not checked, e.g. no sums recorded

  static constexpr std::size_t kProblemsLimit = 100;
  bool ok() const { return problems.empty(); }
};

// An Error is returned only where nothing can be read at all: no folder, no config, no weights, an
// unsupported architecture or quantization.
Result<VerifyReport> verify(FileSystem& files, const Path& folder);

std::string verify_text(const VerifyReport& report);
OrderedJson verify_json(const VerifyReport& report);

}  // namespace lowbit
