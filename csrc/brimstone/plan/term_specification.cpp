#include "brimstone/plan/term_specification.hpp"

#include "brimstone/terms/dose_limit_term.hpp"
#include "brimstone/terms/kl_divergence.hpp"
#include "brimstone/terms/mean_dose_term.hpp"

namespace brimstone {

namespace {

/// Makes the term of each kind of demand.
struct TermMaker {
    const Quantity& quantity;
    double weight;
    BinSettings bins;

    std::unique_ptr<Term> operator()(const TargetDvhMatch& match) const {
        return std::make_unique<KlDivergenceTerm>(quantity, match.target, match.direction, weight, bins);
    }
    std::unique_ptr<Term> operator()(const DoseLimit& limit) const {
        if (limit.kind == DoseLimit::Kind::mean_dose) {
            return std::make_unique<MeanDoseTerm>(quantity, limit.dose, weight, bins.reference_dose);
        }
        const auto side = limit.kind == DoseLimit::Kind::maximum_dose ? DoseLimitTerm::Side::maximum
                                                                      : DoseLimitTerm::Side::minimum;
        return std::make_unique<DoseLimitTerm>(quantity, side, limit.dose, weight, bins.reference_dose);
    }
    std::unique_ptr<Term> operator()(const FunctionTerm::Function& function) const {
        return std::make_unique<FunctionTerm>(quantity, function, weight);
    }
};

BinSettings scaled(BinSettings bins, const DoseMap& map) {
    const double reference = map.typical().value(bins.reference_dose);
    const double factor = reference / bins.reference_dose;
    bins.reference_dose = reference;
    bins.bin_width *= factor;
    bins.variance_min *= factor * factor;
    bins.variance_max *= factor * factor;
    return bins;
}

} // namespace

std::unique_ptr<Term> make_term(const TermSpecification& specification, const Quantity& quantity,
                                const BinSettings& bins) {
    const TermMaker maker{quantity, specification.weight, quantity.map ? scaled(bins, *quantity.map) : bins};
    return std::visit(maker, specification.demand);
}

} // namespace brimstone
