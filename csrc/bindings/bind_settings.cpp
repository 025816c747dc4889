#include "bindings/bindings.hpp"
#include "brimstone/plan/multilevel.hpp"

namespace brimstone::bindings {

void bind_settings(py::module_& module) {
    py::class_<BinSettings>(module, "BinSettings")
        .def(py::init([](double reference_dose, double bin_width, double variance_min, double variance_max,
                         TargetSmoothing target_smoothing, double kernel_reach, double floor,
                         double tail_length) {
                 return BinSettings{reference_dose,   bin_width,    variance_min, variance_max,
                                    target_smoothing, kernel_reach, floor,        tail_length};
             }),
             py::kw_only(), py::arg("reference_dose"), py::arg("bin_width"), py::arg("variance_min"),
             py::arg("variance_max"), py::arg("target_smoothing"), py::arg("kernel_reach"), py::arg("floor"),
             py::arg("tail_length"));

    py::class_<ParameterSettings>(module, "ParameterSettings")
        .def(py::init([](double input_scale, double weight_limit, double variance_min, double variance_max,
                         bool slope_variance, bool dynamic_covariance, double covariance_base,
                         std::size_t covariance_memory) {
                 return ParameterSettings{input_scale,     weight_limit,     variance_min,
                                          variance_max,    slope_variance,   dynamic_covariance,
                                          covariance_base, covariance_memory};
             }),
             py::kw_only(), py::arg("input_scale"), py::arg("weight_limit"), py::arg("variance_min"),
             py::arg("variance_max"), py::arg("slope_variance"), py::arg("dynamic_covariance"),
             py::arg("covariance_base"), py::arg("covariance_memory"));

    py::class_<SearchSettings>(module, "SearchSettings")
        .def(py::init([](SearchMethod method, double tolerance, double line_tolerance,
                         double gradient_tolerance, int max_iterations) {
                 return SearchSettings{method, tolerance, line_tolerance, gradient_tolerance, max_iterations};
             }),
             py::kw_only(), py::arg("method"), py::arg("tolerance"), py::arg("line_tolerance"),
             py::arg("gradient_tolerance"), py::arg("max_iterations"));

    py::class_<LevelSettings>(module, "LevelSettings")
        .def(py::init(
                 [](std::size_t grid, const BinSettings& bins, const ParameterSettings& parameters,
                    const SearchSettings& search) { return LevelSettings{grid, bins, parameters, search}; }),
             py::kw_only(), py::arg("grid"), py::arg("bins"), py::arg("parameters"), py::arg("search"));
}

} // namespace brimstone::bindings
