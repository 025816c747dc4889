#pragma once

#include <memory>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"
#include "brimstone/terms/term.hpp"

namespace brimstone {

/// The cost of beamlet weights on one grid: the sum of its terms and a constant.
class Prescription {
public:
    /// @param base_dose  dose in Gy that no weight here changes, per voxel of the matrix; empty: none
    /// @param offset     constant added to the cost, so that relative changes keep a meaning near zero
    Prescription(std::shared_ptr<const DoseMatrix> matrix, std::vector<std::unique_ptr<Term>> terms,
                 std::shared_ptr<const std::vector<double>> base_dose, double offset, Precision precision,
                 int threads);

    const DoseMatrix& matrix() const { return *matrix_; }
    int threads() const { return threads_; }

    /// Doses of the weights, of which beamlet i gives the share `wide_share[i]` to the wide kernel.
    void compute_dose(const std::vector<double>& weight, const std::vector<double>& wide_share,
                      DoseState& state) const;

    /// The base dose in Gy per voxel, or nothing.
    const std::vector<double>& base_dose() const { return *base_dose_; }

    double cost(const DoseState& state) const;

    /// The cost, and its gradient with respect to the weights.
    /// @param wide_slope  ∂φ_i/∂w_i, in 1/MU
    double cost_and_gradient(const DoseState& state, const std::vector<double>& weight,
                             const std::vector<double>& wide_share, const std::vector<double>& wide_slope,
                             std::vector<double>& gradient) const;

private:
    std::shared_ptr<const DoseMatrix> matrix_;
    std::vector<std::unique_ptr<Term>> terms_;
    std::vector<const Term*> term_list_;
    std::shared_ptr<const std::vector<double>> base_dose_;
    double offset_;
    Precision precision_;
    int threads_;
};

} // namespace brimstone
