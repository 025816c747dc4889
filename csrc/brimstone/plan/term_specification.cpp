#include "brimstone/plan/term_specification.hpp"

#include "brimstone/terms/dose_limit_term.hpp"
#include "brimstone/terms/kl_divergence.hpp"
#include "brimstone/terms/mean_dose_term.hpp"

namespace brimstone {

namespace {

/// Makes the term of each kind of demand.
struct TermMaker {
    const SharedShares& shares;
    double weight;
    const BinSettings& bins;

    std::unique_ptr<Term> operator()(const TargetDvhMatch& match) const {
        return std::make_unique<KlDivergenceTerm>(shares, match.target, match.direction, weight, bins);
    }
    std::unique_ptr<Term> operator()(const DoseLimit& limit) const {
        if (limit.kind == DoseLimit::Kind::mean_dose) {
            return std::make_unique<MeanDoseTerm>(shares, limit.dose, weight, bins.reference_dose);
        }
        const auto side = limit.kind == DoseLimit::Kind::maximum_dose ? DoseLimitTerm::Side::maximum
                                                                      : DoseLimitTerm::Side::minimum;
        return std::make_unique<DoseLimitTerm>(shares, side, limit.dose, weight, bins.reference_dose);
    }
    std::unique_ptr<Term> operator()(const FunctionTerm::Function& function) const {
        return std::make_unique<FunctionTerm>(shares, function, weight);
    }
};

} // namespace

std::unique_ptr<Term> make_term(const TermSpecification& specification, const SharedShares& shares,
                                const BinSettings& bins) {
    return std::visit(TermMaker{shares, specification.weight, bins}, specification.demand);
}

} // namespace brimstone
