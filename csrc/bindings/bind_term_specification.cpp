#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>

#include "bindings/bindings.hpp"
#include "bindings/conversions.hpp"
#include "brimstone/plan/term_specification.hpp"

namespace brimstone::bindings {

namespace {

/// A term's function in Python: (dose, share) to (value, gradient).
class PythonFunction {
public:
    explicit PythonFunction(py::function evaluate)
        : evaluate_(new py::function(std::move(evaluate)), [](py::function* function) {
              // The core may drop its last copy while another thread runs Python.
              const py::gil_scoped_acquire acquire;
              delete function;
          }) {}

    double operator()(const std::vector<double>& dose, const std::vector<double>& share,
                      double* gradient) const {
        const py::gil_scoped_acquire acquire;
        const py::tuple answer = (*evaluate_)(to_array(dose), to_array(share));
        if (gradient != nullptr) {
            // Finite and of the dose's length, or an error.
            const std::vector<double> values =
                to_vector_of(answer[1].cast<Array<double>>(), dose.size(), "gradient of a term");
            std::copy(values.begin(), values.end(), gradient);
        }
        return finite(answer[0].cast<double>(), "value of a term");
    }

private:
    std::shared_ptr<py::function> evaluate_;
};

TermSpecification dvh_match(std::size_t quantity, double weight, const Array<double>& target,
                            KlDirection direction) {
    return {quantity, positive(weight, "weight"), TargetDvhMatch{to_target(target), direction}};
}

TermSpecification dose_limit(DoseLimit::Kind kind, std::size_t quantity, double weight, double limit) {
    return {quantity, positive(weight, "weight"), DoseLimit{kind, at_least(0.0, limit, "limit")}};
}

TermSpecification function(std::size_t quantity, double weight, py::function evaluate) {
    return {quantity, positive(weight, "weight"), PythonFunction(std::move(evaluate))};
}

TermSpecification in_scenario(TermSpecification term, std::size_t group, std::size_t scenario) {
    term.place = {group, scenario};
    return term;
}

ScenarioRisk make_risk(const Array<double>& probability, double tail, double smoothing) {
    ScenarioRisk risk{to_vector(probability, "probability"), share(tail, "tail"),
                      at_least(0.0, smoothing, "smoothing")};
    check_each(risk.probability, "probability", [](double p) { return p > 0.0; }, "above 0");
    const double sum = std::accumulate(risk.probability.begin(), risk.probability.end(), 0.0);
    constexpr double rounding = 1e-9;
    if (!(std::fabs(sum - 1.0) <= rounding)) {
        refuse("the sum of the scenarios' probabilities", sum, "1");
    }
    return risk;
}

py::tuple combined(const ScenarioRisk& risk, const Array<double>& cost) {
    const CombinedCost result = combine(risk, to_vector_of(cost, risk.probability.size(), "cost"));
    return py::make_tuple(result.value, to_array(result.slope));
}

} // namespace

void bind_term_specification(py::module_& module) {
    py::class_<DoseMapSpecification>(module, "DoseMap")
        .def(py::init(&to_map), py::kw_only(), py::arg("coefficients"), py::arg("typical"), py::arg("fixed"));

    py::class_<TermSpecification>(module, "TermSpecification")
        .def_static("kl_divergence", &dvh_match, py::kw_only(), py::arg("quantity"), py::arg("weight"),
                    py::arg("target"), py::arg("direction"))
        .def_static("dose_limit", &dose_limit, py::kw_only(), py::arg("kind"), py::arg("quantity"),
                    py::arg("weight"), py::arg("limit"))
        .def_static("function", &function, py::kw_only(), py::arg("quantity"), py::arg("weight"),
                    py::arg("evaluate"))
        .def("in_scenario", &in_scenario, py::kw_only(), py::arg("group"), py::arg("scenario"));

    py::class_<ScenarioRisk>(module, "ScenarioRisk")
        .def(py::init(&make_risk), py::kw_only(), py::arg("probability"), py::arg("tail"),
             py::arg("smoothing"))
        .def("combine", &combined, py::arg("cost"));
}

} // namespace brimstone::bindings
