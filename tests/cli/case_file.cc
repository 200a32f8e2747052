#include "cli/case_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

namespace {

std::string test_name(const std::string& stem, const std::string& title) {
  std::string name = stem + "_" + title;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

// False for an unknown field.
bool set_field(CliCase& current, const std::string& key, const std::string& value) {
  if (key == "only")
    current.only = value;
  else if (key == "setup")
    current.setup.push_back(value);
  else if (key == "run")
    current.run = value;
  else if (key == "status")
    current.status = std::stoi(value);
  else if (key == "out")
    current.out.push_back(value);
  else if (key == "out-is")
    current.out_is = value;
  else if (key == "out-not")
    current.out_not.push_back(value);
  else if (key == "err")
    current.err.push_back(value);
  else if (key == "err-empty")
    current.err_empty = true;
  else
    return false;
  return true;
}

CliCase empty_case(const std::string& stem, const std::string& title, const std::string& place) {
  CliCase empty;
  empty.name = test_name(stem, title);
  empty.place = place;
  return empty;
}

void read_file(const std::filesystem::path& path, std::vector<CliCase>& cases) {
  std::ifstream file(path);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    const std::string place = fmt::format("{}:{}", path.filename().string(), number);
    const std::size_t colon = line.find(':');
    const std::string key = line.substr(0, colon);
    std::string value = colon == std::string::npos ? "" : line.substr(colon + 1);
    if (value.starts_with(' ')) value.erase(0, 1);
    if (key == "case") {
      cases.push_back(empty_case(path.stem().string(), value, place));
    } else if (cases.empty() || !set_field(cases.back(), key, value)) {
      cases.push_back(empty_case(path.stem().string(), place, place));
      cases.back().setup = {fmt::format("echo 'unknown field {}'; false", key)};
    }
  }
}

}  // namespace

std::vector<CliCase> read_cli_cases(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<CliCase> cases;
  for (const auto& path : paths) read_file(path, cases);
  return cases;
}
