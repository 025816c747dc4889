#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "bindings/arrays.hpp"
#include "brimstone/matrix/compressed_columns.hpp"

namespace brimstone::bindings {

template <class Index>
using IndexArray = py::array_t<Index, py::array::c_style>;
using ValueArray = py::array_t<float, py::array::c_style>;

/// A csc_matrix's arrays, checked; they and `start` must outlive the result.
template <class Index>
CompressedColumns<Index> to_columns(std::size_t rows, const std::vector<std::int64_t>& start,
                                    const IndexArray<Index>& row, const ValueArray& value, int threads) {
    if (start.empty() || start.front() != 0 || start.back() != row.size() || row.size() != value.size() ||
        !std::is_sorted(start.begin(), start.end())) {
        throw std::invalid_argument("column_start, row and value do not describe one matrix");
    }
    const CompressedColumns<Index> source{rows, start.size() - 1, start.data(), row.data(), value.data()};
    const py::gil_scoped_release release;
    check_entries(source, thread_count(threads));
    return source;
}

} // namespace brimstone::bindings
