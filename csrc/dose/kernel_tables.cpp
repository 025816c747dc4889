#include "dose/kernel_tables.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

namespace brimstone::dose {

namespace {

void check_rising(const std::vector<double>& bounds, const char* name, double largest) {
    double last = 0.0;
    for (const double bound : bounds) {
        if (!(bound > last && bound <= largest)) {
            throw std::invalid_argument("the kernel's " + std::string(name) + " must rise from above 0 to " +
                                        std::to_string(largest) + " at most; " + std::to_string(bound) +
                                        " follows " + std::to_string(last));
        }
        last = bound;
    }
}

void check_values(const std::vector<double>& values, std::size_t count, const char* name) {
    if (values.size() != count) {
        throw std::invalid_argument("the kernel's " + std::string(name) + " has " +
                                    std::to_string(values.size()) + " values, not " + std::to_string(count));
    }
    for (const double value : values) {
        if (!(value >= 0.0 && value <= 1e6)) {
            throw std::invalid_argument("the kernel's " + std::string(name) + " has the value " +
                                        std::to_string(value) + "; all must be finite and not negative");
        }
    }
}

} // namespace

void check(const KernelTables& tables) {
    if (tables.radii.empty() || tables.angles.empty() || tables.energies.empty()) {
        throw std::invalid_argument("the kernel has " + std::to_string(tables.radii.size()) + " radii, " +
                                    std::to_string(tables.angles.size()) + " angles and " +
                                    std::to_string(tables.energies.size()) +
                                    " energies; it needs 1 or more of each");
    }
    check_rising(tables.radii, "radii", 1000.0);
    check_rising(tables.angles, "angles", 180.001);
    const std::size_t energies = tables.energies.size();
    check_values(tables.energies, energies, "energies");
    check_values(tables.fluence, energies, "fluence");
    check_values(tables.mu, energies, "mu");
    check_values(tables.mu_en, energies, "mu_en");
    check_values(tables.kernel, energies * tables.angles.size() * tables.radii.size(), "table");
    double energy_fluence = 0.0;
    for (std::size_t e = 0; e < energies; ++e) {
        energy_fluence += tables.fluence[e] * tables.energies[e] * tables.mu[e];
    }
    if (!(energy_fluence > 0.0)) {
        throw std::invalid_argument("the kernel's spectrum sums to zero: fluence, energies or mu are all 0");
    }
    if (!(tables.mu.back() > 0.0 && tables.mu_en.back() > 0.0)) {
        throw std::invalid_argument("mu and mu_en of the kernel's highest energy must be above 0");
    }
}

} // namespace brimstone::dose
