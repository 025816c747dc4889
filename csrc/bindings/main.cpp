#include "bindings/bindings.hpp"

PYBIND11_MODULE(_core, module) {
    namespace bindings = brimstone::bindings;
    module.doc() = "The numerical core of opentps_brimstone; its Python layer is the public interface.";
    bindings::bind_build(module);
    bindings::bind_choices(module);
    bindings::bind_dose(module);
    bindings::bind_gamma(module);
    bindings::bind_dose_matrix(module);
    bindings::bind_column_sums(module);
    bindings::bind_vector_path(module);
    bindings::bind_settings(module);
    bindings::bind_term_specification(module);
    bindings::bind_kl_divergence(module);
    bindings::bind_multilevel_plan(module);
    bindings::bind_level_objective(module);
    bindings::bind_optimize(module);
}
