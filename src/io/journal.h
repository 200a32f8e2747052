// The record of finished steps of a long run, in its output folder (".lowbit-journal"): the same
// command after a kill at any point continues after the last finished step.
//
// Text, one JSON object a line: first the inputs with their fingerprints, then a line for each
// begun step (the names it will write) and each finished one (its files with size and SHA-256, and
// its note). Each line carries the sum of its own text. A torn last line is dropped, damage before
// it is refused. A run whose inputs differ is refused and the first differing input named.
// Errors: journal/{changed-input, damaged, changed-output, foreign-folder}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace lowbit {

struct JournalFile {
  std::string name;  // in the folder, without a path
  std::uint64_t size_bytes = 0;
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
  // Forgets a run in this folder: removes the files that the journal names, their partial siblings
  // and the journal (`--restart`). Without a journal it does nothing.
  static Status discard(FileSystem& files, const Path& folder);

  bool finished(const std::string& step) const;
  // Notes what a step is about to write, so that discard() can remove it even when the step never
  // finishes. Optional; nothing depends on it when the run goes on.
  Status begin(const std::string& step, const std::vector<std::string>& file_names);
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
  struct Content;  // of a journal's text
  static Result<Content> parse(const Path& path, std::string_view text);
  static Status check_files(FileSystem& files, const Path& folder, const std::vector<Step>& steps);
  Status add_line(const std::string& line);

  FileSystem* files_ = nullptr;
  Path folder_;
  std::vector<Step> steps_;
  std::string text_;        // as it is on the disk, whole lines only
  bool tail_torn_ = false;  // the file ends in part of a line, which the next write replaces
};

}  // namespace lowbit
