#include "brimstone/terms/prescription.hpp"

#include <utility>

#include "brimstone/support/vector_math.hpp"
#include "brimstone/terms/term_sum.hpp"

namespace brimstone {

Prescription::Prescription(std::shared_ptr<const DoseMatrix> matrix, std::vector<std::unique_ptr<Term>> terms,
                           std::shared_ptr<const std::vector<double>> base_dose, double offset,
                           Precision precision, int threads)
    : matrix_(std::move(matrix)), terms_(std::move(terms)), base_dose_(std::move(base_dose)), offset_(offset),
      precision_(precision), threads_(threads) {
    for (const auto& term : terms_) {
        term_list_.push_back(term.get());
    }
}

void Prescription::compute_dose(const std::vector<double>& weight, const std::vector<double>& wide_share,
                                DoseState& state) const {
    std::vector<double> pair(2 * weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) {
        pair[2 * i] = weight[i];
        pair[2 * i + 1] = weight[i] * wide_share[i];
    }
    const std::size_t voxels = matrix_->rows();
    state.resize(voxels);
    matrix_->multiply(pair.data(), 2, state.data(), precision_, threads_);
    const std::vector<double>& base_dose = *base_dose_;
    for (std::size_t j = 0; j < base_dose.size(); ++j) {
        state.dose()[j] += base_dose[j];
    }
    state.find_maximum(threads_);
}

double Prescription::cost(const DoseState& state) const {
    return offset_ + TermSum(term_list_, state, false, threads_).value();
}

double Prescription::cost_and_gradient(const DoseState& state, const std::vector<double>& weight,
                                       const std::vector<double>& wide_share,
                                       const std::vector<double>& wide_slope,
                                       std::vector<double>& gradient) const {
    const TermSum sum(term_list_, state, true, threads_);
    std::vector<double> pair(2 * weight.size());
    // Block by block, a residual is used as soon as it is known, and never written to memory.
    const auto multiply = [&](Precision precision) {
        matrix_->multiply_transposed(
            [&](std::size_t begin, std::size_t end, double* const* rows) {
                sum.residual({begin, rows[0], rows[1]}, end);
            },
            2, pair.data(), precision, threads_);
    };
    multiply(precision_);
    if (precision_ == Precision::fast && !all_finite(pair)) {
        multiply(Precision::reference); // steep terms need more than single precision's range
    }
    gradient.resize(weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) {
        gradient[i] = pair[2 * i] + (wide_share[i] + weight[i] * wide_slope[i]) * pair[2 * i + 1];
    }
    return offset_ + sum.value();
}

} // namespace brimstone
