#pragma once

#include "brimstone/search/search.hpp"

namespace brimstone {

/// Polak-Ribière conjugate gradient (E. Polak and G. Ribière, 1969), restarted with steepest descent when a
/// direction is not a descent or its β is negative. The variance adapts after every line minimization.
class ConjugateGradientSearch final : public Search {
public:
    ConjugateGradientSearch(LevelObjective& objective, LineSearch& line_search,
                            const SearchSettings& settings)
        : Search(objective, settings), line_search_(line_search) {}

private:
    void begin() override;
    Progress iterate(int number) override;
    void save_more(Archive& archive) const override;
    void restore_more(const Archive& archive) override;

    void choose_direction(double beta);

    LineSearch& line_search_;
    std::vector<double> direction_;
    bool steepest_ = true;
    double step_guess_ = 1.0; ///< largest parameter change
};

} // namespace brimstone
