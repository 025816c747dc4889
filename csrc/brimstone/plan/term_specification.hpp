#pragma once

#include <cstddef>
#include <memory>
#include <variant>
#include <vector>

#include "brimstone/terms/bin_settings.hpp"
#include "brimstone/terms/dose_map.hpp"
#include "brimstone/terms/function_term.hpp"
#include "brimstone/terms/target_dvh.hpp"
#include "brimstone/terms/term_sum.hpp"

namespace brimstone {

/// A target DVH, matched by KL divergence.
struct TargetDvhMatch {
    TargetDvh target;
    KlDirection direction;
};

struct DoseLimit {
    enum class Kind { maximum_dose, minimum_dose, mean_dose };

    Kind kind;
    double dose; ///< Gy
};

/// One term of the prescription: what it asks of which quantity of which structure.
struct TermSpecification {
    std::size_t quantity; ///< its number in the grids
    double weight;
    std::variant<TargetDvhMatch, DoseLimit, FunctionTerm::Function> demand;
    TermPlace place{};
};

/// The term on one grid, with the bins of one level for dose. Of another quantity, reference, bins and
/// kernels are those of dose times its value at the reference dose over the latter.
std::unique_ptr<Term> make_term(const TermSpecification& specification, const Quantity& quantity,
                                const BinSettings& bins);

} // namespace brimstone
