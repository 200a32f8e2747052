// The record of finished steps of a long run, in its output folder (".lowbit-journal"): the same
// command after a kill at any point continues after the last finished step.
//
// Text, one JSON object a line: first the inputs with their fingerprints, then a line for each
// finished step with the files it wrote and their SHA-256. A torn last line is dropped. A run whose
// inputs differ is refused and the first differing input named.
// Errors: journal/{changed-input, damaged, changed-output, foreign-folder}.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace lowbit {

struct JournalFile {
  std::string name;  // relative to the folder
  std::string sha256;
};

class Journal {
 public:
  // A named fingerprint of everything that decides the output: ("weights model.safetensors",
  // sha256),
  // ("seed", "42"), ...; order matters only for which difference is named first.
  using Inputs = std::vector<std::pair<std::string, std::string>>;

  // Starts a journal in `folder` (made if missing), or continues the one there. A folder that has
  // other files and no journal is "journal/foreign-folder". Files of finished steps are checked by
  // size and sum.
  static Result<Journal> open(FileSystem& files, const Path& folder, const Inputs& inputs);
  // Forgets a run in this folder: removes the journal's files and the journal (`--restart`).
  static Status discard(FileSystem& files, const Path& folder);

  bool finished(const std::string& step) const;
  // The files are whole and synced before this is called; when it returns, the step is durable.
  // `note`: a JSON text kept with the step, returned by note_of (a step's report lines).
  Status finish(const std::string& step, const std::vector<std::string>& file_names,
                const std::string& note);
  std::string note_of(const std::string& step) const;
  std::vector<JournalFile> all_files() const;  // of all finished steps, in order
  Status remove();                             // after the whole run is complete

 private:
  struct Step {
    std::string name;
    std::vector<JournalFile> files;
    std::string note;
  };
  FileSystem* files_ = nullptr;
  Path folder_;
  std::vector<Step> steps_;
};

}  // namespace lowbit
