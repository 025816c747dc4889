#include "dose/poly_kernel.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace brimstone::dose {

namespace {

/// Share of the energy in each [angle][radius], weighted by what each energy of the spectrum releases.
std::vector<double> over_spectrum(const KernelTables& tables) {
    const std::size_t size = tables.angles.size() * tables.radii.size();
    std::vector<double> sum(size);
    double total = 0.0;
    for (std::size_t e = 0; e < tables.energies.size(); ++e) {
        const double weight = tables.fluence[e] * tables.energies[e] * tables.mu[e];
        total += weight;
        for (std::size_t i = 0; i < size; ++i) {
            sum[i] += weight * tables.kernel[e * size + i];
        }
    }
    for (double& value : sum) {
        value /= total;
    }
    return sum;
}

/// The first radius if all are its multiples, else a tenth of it.
double cell_width(const std::vector<double>& radii) {
    const double first = radii.front();
    const bool multiples = std::all_of(radii.begin(), radii.end(), [first](double radius) {
        return std::fabs(radius / first - std::round(radius / first)) < 1e-4;
    });
    return multiples ? first : first / 10.0;
}

/// Value at a distance, linear between radii, from `start` at 0.
double interpolate(const std::vector<double>& radii, const double* cumulative, double start, double radius) {
    const auto above =
        static_cast<std::size_t>(std::lower_bound(radii.begin(), radii.end(), radius) - radii.begin());
    if (above == radii.size()) {
        return cumulative[radii.size() - 1];
    }
    const double r0 = above > 0 ? radii[above - 1] : 0.0;
    const double v0 = above > 0 ? cumulative[above - 1] : start;
    return v0 + (cumulative[above] - v0) * (radius - r0) / (radii[above] - r0);
}

} // namespace

PolyKernel::PolyKernel(const KernelTables& tables, const Settings& settings)
    : cell_width_(cell_width(tables.radii)) {
    const auto cones = static_cast<std::size_t>(settings.polar);
    const std::size_t angles = tables.angles.size();
    const std::size_t radii = tables.radii.size();
    if (angles % cones != 0) {
        throw std::invalid_argument("the dose setting polar is " + std::to_string(cones) +
                                    "; it must divide the kernel's " + std::to_string(angles) + " angles");
    }
    constexpr double most_cells = 1e5;
    const double cells = std::ceil(tables.radii.back() / cell_width_ - 1e-4) + 1.0;
    if (cells > most_cells) {
        throw std::invalid_argument("the kernel's radii reach from " + std::to_string(tables.radii.front()) +
                                    " to " + std::to_string(tables.radii.back()) +
                                    " cm; the last may be 10000 times the first at most");
    }
    cells_ = static_cast<std::size_t>(cells);
    const std::vector<double> share = over_spectrum(tables);
    cell_.resize(cones * cells_);
    for (std::size_t cone = 0; cone < cones; ++cone) {
        const std::size_t first = cone * angles / cones;
        const std::size_t last = (cone + 1) * angles / cones;
        std::vector<double> cumulative(radii);
        double sum = 0.0;
        for (std::size_t r = 0; r < radii; ++r) {
            for (std::size_t a = first; a < last; ++a) {
                sum += share[a * radii + r];
            }
            cumulative[r] = sum;
        }
        const double low = first > 0 ? tables.angles[first - 1] : 0.0;
        angle_.push_back(0.5 * (low + tables.angles[last - 1]));
        KernelCell* const cell = cell_.data() + cone * cells_;
        for (std::size_t i = 0; i + 1 < cells_; ++i) {
            const double at = static_cast<double>(i) * cell_width_;
            const double from = interpolate(tables.radii, cumulative.data(), 0.0, at);
            const double to = interpolate(tables.radii, cumulative.data(), 0.0, at + cell_width_);
            cell[i] = {static_cast<float>(from), static_cast<float>(to - from)};
        }
        cell[cells_ - 1] = {static_cast<float>(sum), 0.0F};
        if (settings.kernel_start == KernelStart::falling) {
            const auto below = static_cast<std::size_t>(std::lround(tables.radii.front() / cell_width_));
            const double step = cumulative[0] / static_cast<double>(below);
            for (std::size_t i = 0; i < below; ++i) {
                cell[i] = {static_cast<float>(cumulative[0] - step * static_cast<double>(i)),
                           static_cast<float>(-step)};
            }
        }
    }
}

TermaCurve::TermaCurve(const KernelTables& tables) : value_(size + 1) {
    const double ratio = tables.mu.back() / tables.mu_en.back();
    for (std::size_t i = 0; i <= size; ++i) {
        const double depth = static_cast<double>(i) / per_cm;
        double kerma = 0.0;
        for (std::size_t e = 0; e < tables.energies.size(); ++e) {
            kerma +=
                tables.fluence[e] * tables.energies[e] * tables.mu_en[e] * std::exp(-tables.mu[e] * depth);
        }
        value_[i] = kerma * ratio;
    }
}

double TermaCurve::operator()(double depth_cm) const {
    const double place = std::fmax(depth_cm, 0.0) * per_cm;
    if (!(place < static_cast<double>(size))) {
        return 0.0;
    }
    const auto below = static_cast<std::size_t>(place);
    return value_[below] + (value_[below + 1] - value_[below]) * (place - static_cast<double>(below));
}

} // namespace brimstone::dose
