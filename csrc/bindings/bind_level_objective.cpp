#include <memory>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "brimstone/search/level_objective.hpp"

namespace brimstone::bindings {

void bind_level_objective(py::module_& module) {
    py::class_<LevelObjective>(module, "LevelObjective")
        .def(
            "cost",
            [](LevelObjective& objective, const Array<double>& parameter) {
                return objective.cost(to_vector_of(parameter, objective.size(), "parameter"));
            },
            py::arg("parameter"))
        .def(
            "cost_and_gradient",
            [](LevelObjective& objective, const Array<double>& parameter) {
                const std::vector<double> x = to_vector_of(parameter, objective.size(), "parameter");
                std::vector<double> gradient;
                double cost = 0.0;
                {
                    const py::gil_scoped_release release;
                    cost = objective.cost_and_gradient(x, gradient);
                }
                return py::make_tuple(cost, to_array(gradient));
            },
            py::arg("parameter"))
        .def(
            "add_searched_direction",
            [](LevelObjective& objective, const Array<double>& direction) {
                objective.add_searched_direction(to_vector_of(direction, objective.size(), "direction"));
            },
            py::arg("direction"))
        .def_property_readonly("variance",
                               [](const LevelObjective& objective) { return to_array(objective.variance()); })
        .def(
            "weight",
            [](const LevelObjective& objective, const Array<double>& parameter) {
                return to_array(
                    objective.transform().weights(to_vector_of(parameter, objective.size(), "parameter")));
            },
            py::arg("parameter"))
        .def(
            "parameter",
            [](const LevelObjective& objective, const Array<double>& weight) {
                return to_array(
                    objective.transform().parameters(to_amounts(weight, objective.size(), "weight")));
            },
            py::arg("weight"));
}

} // namespace brimstone::bindings
