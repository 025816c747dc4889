#pragma once

#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bindings/bindings.hpp"
#include "bindings/checks.hpp"

namespace brimstone::bindings {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

/// A one-dimensional array; its numbers are finite.
template <class T>
std::vector<T> to_vector(const Array<T>& array, const char* name) {
    if (array.ndim() != 1) {
        throw std::invalid_argument(std::string(name) + " must be one-dimensional, not " +
                                    std::to_string(array.ndim()) + "-dimensional");
    }
    std::vector<T> result(array.data(), array.data() + array.size());
    if constexpr (std::is_floating_point_v<T>) {
        check_each(result, name, [](double value) { return std::isfinite(value); }, "finite");
    }
    return result;
}

template <class T>
std::vector<T> to_vector_of(const Array<T>& array, std::size_t size, const char* name) {
    std::vector<T> result = to_vector(array, name);
    if (result.size() != size) {
        throw std::invalid_argument(std::string(name) + " must have " + std::to_string(size) +
                                    " entries, not " + std::to_string(result.size()));
    }
    return result;
}

/// Weights, doses or volumes.
inline std::vector<double> to_amounts(const Array<double>& array, std::size_t size, const char* name) {
    std::vector<double> result = to_vector_of(array, size, name);
    check_each(result, name, [](double value) { return value >= 0.0; }, "at least 0");
    return result;
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

} // namespace brimstone::bindings
