// A line is  {"step":"block 3",...,"sum":"0f1e2d3c4b5a6978"}  where the sum is that of the same
// object without it. So a line is whole or recognisably not, whatever a power cut left of it.
#include "io/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/sha256.h"
#include "io/json.h"
#include "io/limits.h"

namespace lowbit {
namespace {

constexpr const char* kJournalName = ".lowbit-journal";
constexpr int kVersion = 1;
constexpr std::size_t kSumDigits = 16;

Error refused(const char* cause, const Path& place, const std::string& message) {
  return bad_input(std::string("journal/") + cause, fmt::format("{}: {}", place.string(), message));
}

std::string sum_of(const OrderedJson& line) {
  return sha256_hex(std::string_view(line.dump())).substr(0, kSumDigits);
}

Result<std::string> line_text(OrderedJson line) {
  try {
    line["sum"] = sum_of(line);
    return line.dump() + "\n";
  } catch (const nlohmann::json::exception& cause) {  // a name or note that is not UTF-8
    return bad_input("journal/not-text", cause.what());
  }
}

// A line that is whole and carries its sum; nothing otherwise.
std::optional<OrderedJson> checked_line(std::string_view text) {
  auto line = parse_ordered_json(text);
  if (!line || !line->is_object() || !line->contains("sum")) return std::nullopt;
  const OrderedJson sum = (*line)["sum"];
  line->erase("sum");
  if (!sum.is_string() || sum.get_ref<const std::string&>() != sum_of(*line)) return std::nullopt;
  return *std::move(line);
}

// A journal from elsewhere may not make discard() remove, or open() read, what is not in the
// folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name != kJournalName &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

const std::string* text_at(const OrderedJson& object, const char* key) {
  if (!object.is_object() || !object.contains(key)) return nullptr;
  return object[key].get_ptr<const std::string*>();
}

std::optional<Journal::Inputs> inputs_of(const OrderedJson& line) {
  if (!line.contains("lowbit_journal") || line["lowbit_journal"] != kVersion) return std::nullopt;
  if (!line.contains("inputs") || !line["inputs"].is_array()) return std::nullopt;
  Journal::Inputs inputs;
  for (const OrderedJson& pair : line["inputs"]) {
    if (!pair.is_array() || pair.size() != 2) return std::nullopt;
    if (!pair[0].is_string() || !pair[1].is_string()) return std::nullopt;
    inputs.emplace_back(pair[0].get<std::string>(), pair[1].get<std::string>());
  }
  return inputs;
}

std::optional<std::vector<std::string>> names_of(const OrderedJson& line) {
  if (!line.contains("files") || !line["files"].is_array()) return std::nullopt;
  std::vector<std::string> names;
  for (const OrderedJson& name : line["files"]) {
    if (!name.is_string() || !is_plain_name(name.get_ref<const std::string&>())) {
      return std::nullopt;
    }
    names.push_back(name.get<std::string>());
  }
  return names;
}

std::optional<std::vector<JournalFile>> files_of(const OrderedJson& line) {
  if (!line.contains("files") || !line["files"].is_array()) return std::nullopt;
  std::vector<JournalFile> files;
  for (const OrderedJson& file : line["files"]) {
    const std::string* name = text_at(file, "name");
    const std::string* sum = text_at(file, "sha256");
    if (name == nullptr || sum == nullptr || !is_plain_name(*name)) return std::nullopt;
    if (!file.contains("size") || !file["size"].is_number_unsigned()) return std::nullopt;
    files.push_back({*name, file["size"].get<std::uint64_t>(), *sum});
  }
  return files;
}

Status compare_inputs(const Path& path, const Journal::Inputs& before, const Journal::Inputs& now) {
  const auto find = [](const Journal::Inputs& inputs, const std::string& name) {
    return std::find_if(inputs.begin(), inputs.end(),
                        [&](const auto& input) { return input.first == name; });
  };
  constexpr const char* kAdvice =
      "go on with what the run began with, or start anew with --restart or another folder";
  for (const auto& [name, value] : now) {
    const auto old = find(before, name);
    if (old != before.end() && old->second == value) continue;
    const std::string was = old == before.end() ? "absent" : fmt::format("'{}'", old->second);
    return refused("changed-input", path,
                   fmt::format("'{}' was {} when this run began and is '{}' now; {}", name, was,
                               value, kAdvice));
  }
  for (const auto& [name, value] : before) {
    if (find(now, name) != now.end()) continue;
    return refused("changed-input", path,
                   fmt::format("'{}' was '{}' when this run began and is absent now; {}", name,
                               value, kAdvice));
  }
  return {};
}

Status refuse_foreign_folder(FileSystem& files, const Path& folder) {
  const auto names = files.list(folder);
  if (!names) return names.error();
  const std::string own_partial = partial_path(kJournalName).string();
  for (const std::string& name : *names) {
    if (name == own_partial) continue;  // of a run that was stopped before its first line
    return refused("foreign-folder", folder,
                   fmt::format("has '{}' and no journal of an unfinished run, expected a new or "
                               "empty folder; name another or empty it",
                               name));
  }
  return {};
}

Result<JournalFile> describe(FileSystem& files, const Path& folder, const std::string& name) {
  CHECK(is_plain_name(name));
  const auto mapped = files.map(folder / name);
  if (!mapped) return mapped.error();
  const auto bytes = (*mapped)->bytes();
  return JournalFile{.name = name, .size_bytes = bytes.size(), .sha256 = sha256_hex(bytes)};
}

}  // namespace

struct Journal::Content {
  Inputs inputs;
  std::vector<Step> steps;
  std::vector<std::string> begun_files;  // of steps begun, finished or not
  std::size_t whole_bytes = 0;           // of the lines that are whole
};

Result<Journal::Content> Journal::parse(const Path& path, std::string_view text) {
  Content content;
  std::size_t line_number = 0;
  const auto damaged = [&](const char* what) {
    return refused(
        "damaged", path,
        fmt::format("line {}: {}; start anew with --restart or another folder", line_number, what));
  };
  while (content.whole_bytes < text.size()) {
    ++line_number;
    const std::size_t end = text.find('\n', content.whole_bytes);
    const bool is_last = end == std::string_view::npos || end + 1 == text.size();
    std::optional<OrderedJson> line;
    if (end != std::string_view::npos) {
      line = checked_line(text.substr(content.whole_bytes, end - content.whole_bytes));
    }
    if (!line && is_last && line_number > 1) break;  // torn: its step did not finish
    if (!line) return damaged("is not what was written there");

    if (line_number == 1) {
      auto inputs = inputs_of(*line);
      if (!inputs) return damaged("is not the first line of a journal of this version");
      content.inputs = *std::move(inputs);
    } else if (line->contains("begin")) {
      const auto names = names_of(*line);
      if (!names) return damaged("does not describe a step");
      content.begun_files.insert(content.begun_files.end(), names->begin(), names->end());
    } else {
      const std::string* step = text_at(*line, "step");
      const std::string* note = text_at(*line, "note");
      auto step_files = files_of(*line);
      if (step == nullptr || note == nullptr || !step_files) {
        return damaged("does not describe a step");
      }
      content.steps.push_back({*step, *std::move(step_files), *note});
    }
    content.whole_bytes = end + 1;
  }
  if (line_number == 0) return damaged("is missing");
  return content;
}

Status Journal::check_files(FileSystem& files, const Path& folder, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    for (const JournalFile& wanted : step.files) {
      const auto refuse = [&](const std::string& found) {
        return refused("changed-output", folder / wanted.name,
                       fmt::format("{}, step '{}' left {} bytes with SHA-256 {}; put the file back "
                                   "or start anew with --restart or another folder",
                                   found, step.name, wanted.size_bytes, wanted.sha256));
      };
      const auto info = files.info(folder / wanted.name);
      if (!info && info.error().code == "file/missing") return refuse("is missing");
      if (!info) return info.error();
      if (info->size_bytes != wanted.size_bytes) {
        return refuse(fmt::format("has {} bytes", info->size_bytes));
      }
      const auto found = describe(files, folder, wanted.name);
      if (!found) return found.error();
      if (found->sha256 != wanted.sha256) {
        return refuse(fmt::format("has SHA-256 {}", found->sha256));
      }
    }
  }
  return {};
}

Result<Journal> Journal::open(FileSystem& files, const Path& folder, const Inputs& inputs) {
  if (Status made = files.make_folders(folder); !made) return made.error();
  const Path path = folder / kJournalName;
  Journal journal;
  journal.files_ = &files;
  journal.folder_ = folder;

  if (!files.exists(path)) {
    if (Status ours = refuse_foreign_folder(files, folder); !ours) return ours.error();
    OrderedJson pairs = OrderedJson::array();
    for (const auto& [name, value] : inputs) pairs.push_back(OrderedJson::array({name, value}));
    auto line = line_text({{"lowbit_journal", kVersion}, {"inputs", std::move(pairs)}});
    if (!line) return std::move(line).error();
    if (Status written = write_whole(files, path, *line); !written) return written.error();
    journal.text_ = *std::move(line);
    return journal;
  }

  auto text = files.read(path, kMaxJournalBytes);
  if (!text) return std::move(text).error();
  auto content = parse(path, *text);
  if (!content) return std::move(content).error();
  if (Status same = compare_inputs(path, content->inputs, inputs); !same) return same.error();
  if (Status whole = check_files(files, folder, content->steps); !whole) return whole.error();
  journal.steps_ = std::move(content->steps);
  journal.tail_torn_ = content->whole_bytes < text->size();
  text->resize(content->whole_bytes);
  journal.text_ = *std::move(text);
  return journal;
}

Status Journal::discard(FileSystem& files, const Path& folder) {
  const Path path = folder / kJournalName;
  if (!files.exists(path)) return {};
  const auto text = files.read(path, kMaxJournalBytes);
  if (!text) return text.error();

  // Of a damaged journal the lines that are whole still tell which files are the run's.
  std::set<std::string> names;
  for (std::size_t begin = 0; begin < text->size();) {
    const std::size_t end = std::min(text->find('\n', begin), text->size());
    const auto line = checked_line(std::string_view(*text).substr(begin, end - begin));
    if (line) {
      for (const auto& name : names_of(*line).value_or(std::vector<std::string>{})) {
        names.insert(name);
      }
      for (const auto& file : files_of(*line).value_or(std::vector<JournalFile>{})) {
        names.insert(file.name);
      }
    }
    begin = end + 1;
  }
  for (const std::string& name : names) {
    if (Status gone = files.remove(folder / name); !gone) return gone;
    if (Status gone = files.remove(partial_path(folder / name)); !gone) return gone;
  }
  // The journal last and after the others are gone for good: a discard that is stopped can be
  // repeated.
  if (Status synced = files.sync_folder(folder); !synced) return synced;
  if (Status gone = files.remove(partial_path(path)); !gone) return gone;
  if (Status gone = files.remove(path); !gone) return gone;
  return files.sync_folder(folder);
}

bool Journal::finished(const std::string& step) const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [&](const Step& done) { return done.name == step; });
}

Status Journal::begin(const std::string& step, const std::vector<std::string>& file_names) {
  CHECK(!finished(step));
  for (const std::string& name : file_names) CHECK(is_plain_name(name));
  const auto line = line_text({{"begin", step}, {"files", file_names}});
  return line ? add_line(*line) : Status(line.error());
}

Status Journal::finish(const std::string& step, const std::vector<std::string>& file_names,
                       const std::string& note) {
  CHECK(!finished(step));
  Step done{.name = step, .files = {}, .note = note};
  OrderedJson described = OrderedJson::array();
  for (const std::string& name : file_names) {
    auto file = describe(*files_, folder_, name);
    if (!file) return std::move(file).error();
    described.push_back(
        {{"name", file->name}, {"size", file->size_bytes}, {"sha256", file->sha256}});
    done.files.push_back(*std::move(file));
  }
  const auto line = line_text({{"step", step}, {"files", std::move(described)}, {"note", note}});
  if (!line) return line.error();
  if (Status added = add_line(*line); !added) return added;
  steps_.push_back(std::move(done));
  return {};
}

Status Journal::add_line(const std::string& line) {
  const Path path = folder_ / kJournalName;
  if (tail_torn_) {
    if (Status written = write_whole(*files_, path, text_ + line); !written) return written;
  } else {
    tail_torn_ = true;  // until the line is known to be whole
    auto file = files_->append(path);
    if (!file) return std::move(file).error();
    if (Status written = (*file)->write(std::as_bytes(std::span(line))); !written) return written;
    if (Status synced = (*file)->sync(); !synced) return synced;
    if (Status closed = (*file)->close(); !closed) return closed;
  }
  tail_torn_ = false;
  text_ += line;
  return {};
}

std::string Journal::note_of(const std::string& step) const {
  for (const Step& done : steps_) {
    if (done.name == step) return done.note;
  }
  return {};
}

std::vector<JournalFile> Journal::all_files() const {
  std::vector<JournalFile> all;
  for (const Step& step : steps_) all.insert(all.end(), step.files.begin(), step.files.end());
  return all;
}

Status Journal::remove() {
  if (Status gone = files_->remove(folder_ / kJournalName); !gone) return gone;
  return files_->sync_folder(folder_);
}

}  // namespace lowbit
