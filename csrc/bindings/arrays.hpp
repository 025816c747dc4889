#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "bindings/bindings.hpp"

namespace brimstone::bindings {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <class T>
std::vector<T> to_vector(const Array<T>& array, const char* name) {
    if (array.ndim() != 1) {
        throw std::invalid_argument(std::string(name) + " must be one-dimensional, not " +
                                    std::to_string(array.ndim()) + "-dimensional");
    }
    return std::vector<T>(array.data(), array.data() + array.size());
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

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

} // namespace brimstone::bindings
