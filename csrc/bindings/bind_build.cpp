#include <string>

#include "bindings/bindings.hpp"
#include "brimstone/support/parallel.hpp"

namespace brimstone::bindings {

namespace {

std::string compiler() {
#ifdef __clang__
    return "Clang " __clang_version__;
#elif defined(__GNUC__)
    return "GCC " __VERSION__;
#elif defined(_MSC_VER)
    return "MSVC " + std::to_string(_MSC_VER);
#else
    return "unknown";
#endif
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = compiler();
    info["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." + std::to_string(PYBIND11_VERSION_MINOR);
    info["threads"] = default_threads();
    return info;
}

} // namespace

void bind_build(py::module_& module) {
    module.def("build_info", &build_info, "How this module was built, and the threads it would use.");
}

} // namespace brimstone::bindings
