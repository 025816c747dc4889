#pragma once

#include <pybind11/pybind11.h>

namespace brimstone::bindings {

namespace py = pybind11;

void bind_build(py::module_& module);
void bind_choices(py::module_& module);
void bind_dose_matrix(py::module_& module);
void bind_column_sums(py::module_& module);
void bind_vector_path(py::module_& module);
void bind_settings(py::module_& module);
void bind_kl_divergence(py::module_& module);
void bind_term_specification(py::module_& module);
void bind_multilevel_plan(py::module_& module);
void bind_level_objective(py::module_& module);
void bind_optimize(py::module_& module);
void bind_dose(py::module_& module);
void bind_gamma(py::module_& module);

} // namespace brimstone::bindings
