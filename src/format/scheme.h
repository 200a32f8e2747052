// How a linear's weight and input are represented: bits and granularity.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace lowbit {

// What codes stand for, of a weight or of an input. integer: code - zero, of any bits and groups.
// The others: values of a table (format/value_grid.h), with the one width and the one group size
// that the format has.
enum class WeightFormat { integer, nvfp4, mxfp4, nf4, fp8 };

struct WeightScheme {
  int bits = 4;                   // 2..8; 16: left as it is
  std::int64_t group_size = 128;  // consecutive inputs that share a scale; 0: a whole row
  bool symmetric = false;         // no zero point: the code 2^(bits-1) stands for 0
  WeightFormat format = WeightFormat::integer;  // another one decides all of the above

  bool quantized() const { return bits < 16; }
  bool operator==(const WeightScheme&) const = default;
};

// Dynamic ranges, taken from the values at run time, of each token or of each token and group; or
// one static range for a linear, known from calibration.
enum class ActivationGranularity { token, token_group, tensor };

struct ActivationScheme {
  int bits = 16;  // 2..8; 16: float
  ActivationGranularity per = ActivationGranularity::token_group;
  std::int64_t group_size = 128;  // token_group only; that of the linear's weight or smaller
  bool symmetric = false;         // tensor: always
  double clip = 1;  // used as float32; both ends of a dynamic range are multiplied by it
  float scale = 0;  // tensor: of all values; nvfp4: by which dynamic scales are divided. 0: not
                    // known yet. A checkpoint has it beside the weight, not in its config
  WeightFormat format = WeightFormat::integer;  // another one decides all of the above

  bool quantized() const { return bits < 16; }
  bool is_static() const { return quantized() && per == ActivationGranularity::tensor; }
  bool has_codes() const { return quantized() && format == WeightFormat::integer; }
  bool stores_scale() const {
    return is_static() || (quantized() && format == WeightFormat::nvfp4);
  }
  // Whether a whole token shares its scale.
  bool whole_token() const { return per != ActivationGranularity::token_group; }
  bool operator==(const ActivationScheme&) const = default;
};

// What is done to a linear's input at run time, before its activations are quantized; the stored
// weight is already multiplied to match, so that without rounding the product stays what it was.
//
// Either a Hadamard matrix, which its size says all about, or a learned L ⊗ R: a row as a matrix X
// [left, right] becomes Lᵀ X R. Of the latter a checkpoint has the factors beside a weight, once
// for the linears that share an input, not in its config.
struct KroneckerSize {
  std::int64_t left = 0, right = 0;  // 0: no such transform

  bool any() const { return left != 0; }
  bool operator==(const KroneckerSize&) const = default;
};

struct KroneckerFactors {
  KroneckerSize size;
  std::vector<float> left, right;  // [size, size] by rows, nearly orthogonal; exact in float16

  bool operator==(const KroneckerFactors&) const = default;
};

struct InputTransform {
  std::int64_t hadamard = 0;  // n of x (I ⊗ H_n) / sqrt(n), format/hadamard_matrix.h; 0: none
  KroneckerSize kronecker = {};
  std::string stored_with = {};  // of a Kronecker product: the linear that its factors stand beside
  std::shared_ptr<const KroneckerFactors> factors = {};  // null: not known yet

  bool any() const { return hadamard != 0 || kronecker.any(); }
  bool operator==(const InputTransform& other) const;  // of factors, their values
};

// Two thin matrices beside a weight, for what its codes could not say: y = Q(x) Ŵᵀ + (x Rᵀ) Lᵀ, x
// the linear's input after its transform and never quantized. Of its config a checkpoint has the
// rank, the matrices beside the weight.
struct LowRankPair {
  std::vector<float> left, right;  // [out, rank] and [rank, in], by rows; exact in float16

  bool operator==(const LowRankPair&) const = default;
};

struct LowRank {
  std::int64_t rank = 0;                         // 0: no pair
  std::shared_ptr<const LowRankPair> pair = {};  // null: not known yet

  bool any() const { return rank != 0; }
  bool operator==(const LowRank& other) const;  // of the pair, its values
};

// Whether it may be a scheme's clip: above 0, as a float32 too, and at most 1.
bool is_clip(double value);

std::string describe(const WeightScheme& scheme);  // "W4 g128 asym", "W8 row sym", "nvfp4", "W16"
std::string describe(
    const ActivationScheme& scheme);  // "A4 g128 asym", "A8 token sym clip 0.9", "A nvfp4"
std::string describe(const InputTransform& transform);  // "H512", "K16x32"; empty for none

// The largest allowed group (32, 64, 128, 256, ... or a divisor that is a multiple of 8) that is at
// most `wanted` and divides `in`; 0 (a whole row) stays 0.
std::int64_t fitting_group_size(std::int64_t in, std::int64_t wanted);

}  // namespace lowbit
