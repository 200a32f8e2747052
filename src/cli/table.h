// A table of aligned columns as plain text: the one way that subcommands print rows.
#pragma once

#include <string>
#include <vector>

namespace lowbit {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns);
  void add(std::vector<std::string> cells);  // as many as columns
  std::string render() const;                // title line, rule, rows; each ends with a newline

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace lowbit
