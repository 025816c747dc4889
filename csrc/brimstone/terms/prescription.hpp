#pragma once

#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/terms/biology.hpp"
#include "brimstone/terms/term.hpp"
#include "brimstone/terms/term_sum.hpp"

namespace brimstone {

/// Doses of all voxels, and what follows from further matrices.
class PlanState : public DoseState {
public:
    BiologicalState biology; ///< empty without such matrices
    /// Doses and wide doses as sums gave them; empty unless a base dose may lower some below 0.
    std::vector<double> unclamped;

    /// Doses and wide doses that are linear in what beamlets give.
    const double* linear() const { return unclamped.empty() ? dose() : unclamped.data(); }
};

/// The cost of beamlet weights on one grid: the sum of its terms and a constant.
class Prescription {
public:
    /// @param places     of each term
    /// @param groups     of robust terms
    /// @param base_dose  dose in Gy that no weight here changes, per voxel of the matrix; empty: none.
    ///                   Where it is negative, doses end at 0, and wide doses at the dose.
    /// @param offset     constant added to the cost, so that relative changes keep a meaning near zero
    /// @param channels   what each term looks at
    /// @param biology    matrices of other channels than dose, or null
    Prescription(std::shared_ptr<const DoseMatrix> matrix, std::vector<std::unique_ptr<Term>> terms,
                 std::vector<Channel> channels, std::vector<TermPlace> places,
                 std::vector<ScenarioRisk> groups, std::shared_ptr<const std::vector<double>> base_dose,
                 std::shared_ptr<const Biology> biology, double offset, Precision precision, int threads);

    const DoseMatrix& matrix() const { return *matrix_; }
    int threads() const { return threads_; }

    /// Doses of the weights, of which beamlet i gives the share `wide_share[i]` to the wide kernel.
    void compute_dose(const std::vector<double>& weight, const std::vector<double>& wide_share,
                      PlanState& state) const;
    /// Lets further channels follow doses and products that have been written.
    void update(PlanState& state) const;
    /// Or null.
    const Biology* biology() const { return biology_.get(); }

    /// The base dose in Gy per voxel, or nothing.
    const std::vector<double>& base_dose() const { return *base_dose_; }

    double cost(const PlanState& state) const;

    /// The cost, and its gradient with respect to the weights.
    /// @param wide_slope  ∂φ_i/∂w_i, in 1/MU
    double cost_and_gradient(const PlanState& state, const std::vector<double>& weight,
                             const std::vector<double>& wide_share, const std::vector<double>& wide_slope,
                             std::vector<double>& gradient) const;

private:
    TermSum sum(const PlanState& state, bool with_residual) const;
    std::vector<double> multiply_biology(const TermSum& sum, const PlanState& state,
                                         std::vector<double>& pair, Precision precision) const;
    void clamp(PlanState& state) const;

    std::shared_ptr<const DoseMatrix> matrix_;
    std::vector<std::unique_ptr<Term>> terms_;
    GroupedTerms grouped_;
    std::vector<Channel> channels_;
    std::shared_ptr<const std::vector<double>> base_dose_;
    std::shared_ptr<const Biology> biology_;
    std::vector<Channel> further_channels_; ///< that terms look at beside dose, each once
    double offset_;
    bool clamps_; ///< whether the base dose may lower a dose below 0
    Precision precision_;
    int threads_;
};

} // namespace brimstone
