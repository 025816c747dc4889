#include "bindings/bindings.hpp"
#include "bindings/checks.hpp"
#include "brimstone/plan/level_settings.hpp"

namespace brimstone::bindings {

namespace {

void check_variances(double minimum, double maximum) {
    positive(minimum, "variance_min");
    if (!(finite(maximum, "variance_max") > minimum)) {
        refuse("variance_max", maximum, "above variance_min");
    }
}

BinSettings make_bins(double reference_dose, double bin_width, double variance_min, double variance_max,
                      TargetSmoothing target_smoothing, double kernel_reach, double floor,
                      double tail_length) {
    check_variances(variance_min, variance_max);
    return {positive(reference_dose, "reference_dose"),
            positive(bin_width, "bin_width"),
            variance_min,
            variance_max,
            target_smoothing,
            positive(kernel_reach, "kernel_reach"),
            positive(floor, "floor"),
            at_least(0.0, tail_length, "tail_length")};
}

ParameterSettings make_parameters(double input_scale, double weight_limit, double variance_min,
                                  double variance_max, bool slope_variance, bool dynamic_covariance,
                                  double covariance_base, std::size_t covariance_memory) {
    check_variances(variance_min, variance_max);
    return {positive(input_scale, "input_scale"),
            positive(weight_limit, "weight_limit"),
            variance_min,
            variance_max,
            slope_variance,
            dynamic_covariance,
            at_least(1.0, covariance_base, "covariance_base"),
            covariance_memory};
}

SearchSettings make_search(SearchMethod method, double tolerance, double line_tolerance,
                           double gradient_tolerance, int max_iterations) {
    at_least(0.0, max_iterations, "max_iterations");
    return {method, at_least(0.0, tolerance, "tolerance"), positive(line_tolerance, "line_tolerance"),
            at_least(0.0, gradient_tolerance, "gradient_tolerance"), max_iterations};
}

} // namespace

void bind_settings(py::module_& module) {
    py::class_<BinSettings>(module, "BinSettings")
        .def(py::init(&make_bins), py::kw_only(), py::arg("reference_dose"), py::arg("bin_width"),
             py::arg("variance_min"), py::arg("variance_max"), py::arg("target_smoothing"),
             py::arg("kernel_reach"), py::arg("floor"), py::arg("tail_length"));

    py::class_<ParameterSettings>(module, "ParameterSettings")
        .def(py::init(&make_parameters), py::kw_only(), py::arg("input_scale"), py::arg("weight_limit"),
             py::arg("variance_min"), py::arg("variance_max"), py::arg("slope_variance"),
             py::arg("dynamic_covariance"), py::arg("covariance_base"), py::arg("covariance_memory"));

    py::class_<SearchSettings>(module, "SearchSettings")
        .def(py::init(&make_search), py::kw_only(), py::arg("method"), py::arg("tolerance"),
             py::arg("line_tolerance"), py::arg("gradient_tolerance"), py::arg("max_iterations"));

    py::class_<LevelSettings>(module, "LevelSettings")
        .def(py::init(
                 [](std::size_t grid, const BinSettings& bins, const ParameterSettings& parameters,
                    const SearchSettings& search) { return LevelSettings{grid, bins, parameters, search}; }),
             py::kw_only(), py::arg("grid"), py::arg("bins"), py::arg("parameters"), py::arg("search"));
}

} // namespace brimstone::bindings
