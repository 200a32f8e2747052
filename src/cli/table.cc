#include "cli/table.h"

#include <algorithm>

#include "base/check.h"
#include "cli/printable.h"

namespace lowbit {
namespace {

// Characters as a terminal counts them, near enough: UTF-8 continuation bytes take no place.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
  }));
}

void append_cell(std::string& line, const std::string& text, std::size_t wanted, Align align) {
  const std::string padding(wanted - width(text), ' ');
  line += align == Align::right ? padding + text : text + padding;
}

void end_line(std::string& text) {
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::add(std::vector<std::string> cells) {
  CHECK(cells.size() == columns_.size());
  for (std::string& cell : cells) {
    cell = printable(cell);
    std::replace(cell.begin(), cell.end(), '\n', ' ');
  }
  rows_.push_back(std::move(cells));
}

std::string Table::render() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = width(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, width(row[i]));
    widths.push_back(widest);
  }
  const auto line_of = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += "  ";
      append_cell(line, cell_of(i), widths[i], columns_[i].align);
    }
    end_line(line);
    return line;
  };
  std::string text = line_of([&](std::size_t i) { return columns_[i].title; });
  text += line_of([&](std::size_t i) { return std::string(widths[i], '-'); });
  for (const auto& row : rows_) text += line_of([&](std::size_t i) { return row[i]; });
  return text;
}

}  // namespace lowbit
