// Tables, and what may reach a terminal.
#include "cli/table.h"

#include <gtest/gtest.h>

#include "cli/output.h"
#include "cli/printable.h"

namespace lowbit {
namespace {

TEST(Table, AlignsColumnsAndLeavesNoTrailingSpace) {
  Table table({{"name"}, {"n", Align::right}, {"note"}});
  table.add({"a", "1", ""});
  table.add({"long name", "1234", "x"});
  EXPECT_EQ(table.render(),
            "name          n  note\n"
            "---------  ----  ----\n"
            "a             1\n"
            "long name  1234  x\n");
}

TEST(Table, CountsCharactersInsteadOfBytes) {
  Table table({{"a"}, {"b"}});
  table.add({"±é", "x"});
  table.add({"ab", "y"});
  EXPECT_EQ(table.render(), "a   b\n--  -\n±é  x\nab  y\n");
}

TEST(Table, ShowsControlBytesOfHostileNames) {
  Table table({{"a"}});
  table.add({"x\x1b[2J\ny"});
  EXPECT_EQ(table.render(), "a\n----------\nx\\x1b[2J y\n");
}

TEST(Printable, ShowsControlsAndKeepsText) {
  EXPECT_EQ(printable("a\tb\x7f"), "a\\x09b\\x7f");
  EXPECT_EQ(printable("line\nline"), "line\nline");
  EXPECT_EQ(printable("é ± 日本"), "é ± 日本");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\x9b") << "C1 control: the lead byte is escaped";
}

TEST(Output, WritesSizesAndDurations) {
  EXPECT_EQ(size_text(999), "999 B");
  EXPECT_EQ(size_text(12'345'678), "12.3 MB");
  EXPECT_EQ(size_text(16'060'000'000), "16.06 GB");
  EXPECT_EQ(duration_text(4.25), "4.2 s");
  EXPECT_EQ(duration_text(185), "3 min 05 s");
  EXPECT_EQ(duration_text(7320), "2 h 02 min");
}

TEST(Output, HasNullForWhatJsonCannotSay) {
  EXPECT_EQ(number_or_null(1.5).dump(), "1.5");
  EXPECT_EQ(number_or_null(1.0 / 0.0).dump(), "null");
}

}  // namespace
}  // namespace lowbit
