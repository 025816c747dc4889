#pragma once

#include <deque>

#include "brimstone/search/search.hpp"

namespace brimstone {

/// Limited-memory BFGS (J. Nocedal, Math. Comp. 35, 1980), with full steps where they lower the cost enough.
///
/// A step costs one evaluation where conjugate gradient needs a line minimization. The variance adapts to the
/// directions searched as in conjugate gradient, but only every few iterations, as the cost must be evaluated
/// anew when it has. Convergence is judged at these times too, over all iterations in between.
class LbfgsSearch final : public Search {
public:
    LbfgsSearch(LevelObjective& objective, LineSearch& line_search, const SearchSettings& settings)
        : Search(objective, settings), line_search_(line_search) {}

private:
    static constexpr int adaptation_interval = 5;
    static constexpr std::size_t memory = 10;

    void begin() override;
    Progress iterate(int number) override;
    void save_more(Archive& archive) const override;
    void restore_more(const Archive& archive) override;

    struct Step {
        std::vector<double> change; ///< of the parameters
        std::vector<double> gradient;
        double cost;
    };

    bool full_step(Step& step);
    bool steepest_step(Step& step);
    std::vector<double> direction() const;
    void remember(const std::vector<double>& step, const std::vector<double>& gradient_change);
    void adapt_variance();

    LineSearch& line_search_;
    std::deque<std::vector<double>> steps_;            ///< newest last
    std::deque<std::vector<double>> gradient_changes_; ///< that came with them
    std::vector<std::vector<double>> searched_;        ///< directions that the variance does not know yet
    double reference_cost_ = 0.0;                      ///< when the variance adapted last
};

} // namespace brimstone
