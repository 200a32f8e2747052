#include "calib/table.h"

#include <algorithm>
#include <optional>
#include <span>

namespace lowbit {
namespace {

// Runs of 16 MiB in float32; the plan counts a few of them (recipe/estimate.cc). Whole words of
// zero points ask for a multiple of 32 rows.
constexpr std::int64_t kRunValues = std::int64_t{1} << 22;
constexpr std::int64_t kRowMultiple = 32;

class TablePacker {
 public:
  TablePacker(const Checkpoint& source, const PlannedTable& table,
              const std::function<Status(double)>& on_run)
      : source_(source),
        linear_(table.linear),
        scheme_(table.scheme.weight),
        run_rows_(std::max(kRunValues / linear_.in / kRowMultiple, std::int64_t{1}) * kRowMultiple),
        on_run_(on_run) {}

  Result<PackedTensors> pack(const TableRange& range) {
    Status done = for_each_run(0.0, [&](std::int64_t, const std::vector<float>& values) {
      const std::int64_t rows = std::ssize(values) / linear_.in;
      const GroupParameters found = range(to_tensor(values, {rows, linear_.in}), scheme_);
      for (const auto& [tensor, all] :
           {std::pair{&found.scale, &scales_}, {&found.zero, &zeros_}}) {
        const std::vector<float> part = to_floats(*tensor);
        all->insert(all->end(), part.begin(), part.end());
      }
    });
    if (!done) return std::move(done).error();
    const DType type = scale_type_of(scheme_.format, scales_);
    std::optional<PackedTensors> packed;
    done = for_each_run(0.5, [&](std::int64_t first, const std::vector<float>& values) {
      const GroupAffineWeight rows = coded(first, values, type);
      if (packed) {
        packed->append(rows);
      } else {
        packed.emplace(linear_.name, rows);
        packed->reserve(linear_.out);
      }
    });
    if (!done) return std::move(done).error();
    return *std::move(packed);
  }

 private:
  // Calls body(first row, values) for the whole table; the two passes are half of the work each.
  template <typename Body>
  Status for_each_run(double done_before, const Body& body) const {
    for (std::int64_t first = 0; first < linear_.out; first += run_rows_) {
      const std::int64_t last = std::min(first + run_rows_, linear_.out);
      const auto values = source_.float_rows(linear_.name + ".weight", linear_.in, first, last);
      if (!values) return values.error();
      body(first, *values);
      const double share = static_cast<double>(last) / static_cast<double>(linear_.out);
      if (Status status = on_run_(done_before + share / 2); !status) return status;
    }
    return {};
  }

  GroupAffineWeight coded(std::int64_t first, const std::vector<float>& values, DType type) const {
    const std::int64_t rows = std::ssize(values) / linear_.in;
    const std::int64_t groups = std::ssize(scales_) / linear_.out;
    const auto of_rows = [&](const std::vector<float>& all) {
      return std::span(all).subspan(static_cast<std::size_t>(first * groups),
                                    static_cast<std::size_t>(rows * groups));
    };
    return quantize_group_affine(values, rows, linear_.in, scheme_, of_rows(scales_),
                                 of_rows(zeros_), type);
  }

  const Checkpoint& source_;
  const LinearSpec& linear_;
  const WeightScheme& scheme_;
  const std::int64_t run_rows_;
  const std::function<Status(double)>& on_run_;
  std::vector<float> scales_, zeros_;  // [out, groups]
};

}  // namespace

Result<PackedTensors> pack_table(const Checkpoint& source, const PlannedTable& table,
                                 const TableRange& range,
                                 const std::function<Status(double fraction)>& on_run) {
  return TablePacker(source, table, on_run).pack(range);
}

}  // namespace lowbit
