#include <array>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "brimstone/gamma/gamma.hpp"

namespace brimstone::bindings {

namespace {

using Triple = std::array<double, 3>;

DoseGrid to_dose_grid(const Array<double>& dose, const Triple& spacing, const Triple& origin,
                      const char* name) {
    if (dose.ndim() != 3 || dose.size() == 0) {
        throw std::invalid_argument(std::string(name) + " must be three-dimensional and not empty");
    }
    DoseGrid grid{};
    for (std::size_t axis = 0; axis < 3; ++axis) {
        grid.shape[axis] = static_cast<std::size_t>(dose.shape(static_cast<py::ssize_t>(axis)));
        grid.spacing[axis] = positive(spacing[axis], "spacing");
        grid.origin[axis] = finite(origin[axis], "origin");
    }
    for (py::ssize_t i = 0; i < dose.size(); ++i) {
        finite(dose.data()[i], name);
    }
    grid.dose = dose.data();
    return grid;
}

py::array_t<double> gamma_of(const Array<double>& reference, const Triple& reference_spacing,
                             const Triple& reference_origin, const Array<double>& evaluation,
                             const Triple& evaluation_spacing, const Triple& evaluation_origin, double dose,
                             double distance, double threshold, bool local, double highest, int threads) {
    const DoseGrid mine = to_dose_grid(reference, reference_spacing, reference_origin, "reference");
    const DoseGrid theirs = to_dose_grid(evaluation, evaluation_spacing, evaluation_origin, "evaluation");
    const GammaCriteria criteria{positive(dose, "dose"), positive(distance, "distance"),
                                 local ? positive(threshold, "threshold") : finite(threshold, "threshold"),
                                 local, positive(highest, "highest")};
    std::vector<double> result;
    {
        const py::gil_scoped_release release;
        result = gamma(mine, theirs, criteria, thread_count(threads));
    }
    return to_array(result).reshape({reference.shape(0), reference.shape(1), reference.shape(2)});
}

} // namespace

void bind_gamma(py::module_& module) {
    module.def("gamma", &gamma_of, py::kw_only(), py::arg("reference"), py::arg("reference_spacing"),
               py::arg("reference_origin"), py::arg("evaluation"), py::arg("evaluation_spacing"),
               py::arg("evaluation_origin"), py::arg("dose"), py::arg("distance"), py::arg("threshold"),
               py::arg("local"), py::arg("highest"), py::arg("threads"));
}

} // namespace brimstone::bindings
