#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/bindings.hpp"
#include "brimstone/support/kernels/kernels.hpp"

namespace brimstone::bindings {

void bind_vector_path(py::module_& module) {
    module.def("vector_paths", [] {
        std::vector<std::string> names;
        for (const char* const* name = available_kernels(); *name != nullptr; ++name) {
            names.emplace_back(*name);
        }
        return names;
    });
    module.def("vector_path", [] { return std::string(kernels().name); });
    module.def(
        "use_vector_path", [](const std::string& name) { use_kernels(name.c_str()); }, py::arg("name"));
}

} // namespace brimstone::bindings
