#pragma once

#include <pybind11/pybind11.h>

namespace brimstone::bindings {

void bind_build(pybind11::module_& module);
void bind_dose_matrix(pybind11::module_& module);
void bind_settings(pybind11::module_& module);
void bind_kl_divergence(pybind11::module_& module);
void bind_multilevel_plan(pybind11::module_& module);
void bind_level_objective(pybind11::module_& module);
void bind_optimize(pybind11::module_& module);
void bind_dose(pybind11::module_& module);

} // namespace brimstone::bindings
