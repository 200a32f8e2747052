// Cases of the command line as text: cases/*.txt, read by case_test.cc.
//
//   case: refuses a model that is not there      a case begins
//   only: calibration | no-calibration           runs in builds with, without LibTorch
//   setup: mkdir empty                           shell, in the case's own folder; may repeat
//   run: tokenize empty --text x                 arguments, as a shell reads them
//   status: 3
//   out: text                                    standard output contains it; may repeat
//   out-is: text                                 standard output is this one line
//   out-not: text                                standard output does not contain it
//   err: text                                    standard error contains it; may repeat
//   err-empty:                                   standard error is empty
//
// The folder holds `models` and `data`, links to models/ and tests/data/. `#` begins a comment.
#pragma once

#include <string>
#include <vector>

struct CliCase {
  std::string name;   // of the file and the case, for gtest
  std::string place;  // "tokenize.txt:12"
  std::string only;
  std::vector<std::string> setup;
  std::string run;
  int status = 0;
  std::vector<std::string> out, out_not, err;
  std::string out_is;
  bool err_empty = false;
};

// All cases in order; a mistake in a file is a case that cannot pass and says what is wrong.
std::vector<CliCase> read_cli_cases(const std::string& folder);
