#include "brimstone/prescription.hpp"

#include <algorithm>
#include <utility>

#include "brimstone/parallel.hpp"

namespace brimstone {

Prescription::Prescription(std::shared_ptr<const DoseMatrix> matrix, std::vector<std::unique_ptr<Term>> terms,
                           std::shared_ptr<const std::vector<double>> base_dose, double offset, int threads)
    : matrix_(std::move(matrix)), terms_(std::move(terms)), base_dose_(std::move(base_dose)), offset_(offset),
      threads_(threads) {}

void Prescription::compute_dose(const std::vector<double>& weight, const std::vector<double>& wide_share,
                                DoseState& state) const {
    std::vector<double> pair(2 * weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) {
        pair[2 * i] = weight[i];
        pair[2 * i + 1] = weight[i] * wide_share[i];
    }
    state.pair.resize(2 * matrix_->rows());
    matrix_->multiply(pair.data(), 2, state.pair.data(), threads_);
    if (!base_dose_->empty()) {
        for (std::size_t j = 0; j < base_dose_->size(); ++j) {
            state.pair[2 * j] += (*base_dose_)[j];
        }
    }
    find_maximum(state);
}

void Prescription::find_maximum(DoseState& state) const {
    constexpr std::size_t piece_size = 16384;
    const std::size_t voxels = state.voxels();
    std::vector<double> partial((voxels + piece_size - 1) / piece_size, 0.0);
    parallel_pieces(voxels, piece_size, threads_, [&](std::size_t piece, std::size_t begin, std::size_t end) {
        double maximum = 0.0;
        for (std::size_t j = begin; j < end; ++j) {
            maximum = std::max(maximum, state.dose(j));
        }
        partial[piece] = maximum;
    });
    state.maximum = partial.empty() ? 0.0 : *std::max_element(partial.begin(), partial.end());
}

double Prescription::cost(const DoseState& state) const {
    double sum = offset_;
    for (const auto& term : terms_) {
        sum += term->cost(state, threads_);
    }
    return sum;
}

double Prescription::cost_and_gradient(const DoseState& state, const std::vector<double>& weight,
                                       const std::vector<double>& wide_share,
                                       const std::vector<double>& wide_slope,
                                       std::vector<double>& gradient) const {
    double sum = offset_;
    std::vector<double> residual(state.pair.size(), 0.0);
    for (const auto& term : terms_) {
        sum += term->cost_and_residual(state, residual, threads_);
    }
    std::vector<double> pair(2 * weight.size());
    matrix_->multiply_transposed(residual.data(), 2, pair.data(), threads_);
    gradient.resize(weight.size());
    for (std::size_t i = 0; i < weight.size(); ++i) {
        gradient[i] = pair[2 * i] + (wide_share[i] + weight[i] * wide_slope[i]) * pair[2 * i + 1];
    }
    return sum;
}

} // namespace brimstone
