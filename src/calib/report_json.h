// Reports of a run as JSON: in the journal's notes, from which a resumed run takes them, and in the
// report that the finished folder has.
#pragma once

#include <vector>

#include "calib/quantize.h"
#include "io/json.h"
#include "recipe/plan.h"

namespace lowbit {

OrderedJson to_json(const BlockReport& report);
OrderedJson to_json(const TuneReport& report);

// From notes of our own journal; a key that is missing keeps its default.
BlockReport block_report(const OrderedJson& note);
TuneReport tune_report(const OrderedJson& note);

// What passes chose of the activations of a block's linears, for its report, and from there into a
// resumed run's plan; "journal/damaged" where the report has not one for each.
std::vector<ActivationScheme> activations_of(const std::vector<PlannedLinear>& linears);
Status restore_activations(BlockReport& report, std::vector<PlannedLinear>& linears);

}  // namespace lowbit
