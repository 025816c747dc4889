#include <algorithm>
#include <memory>
#include <string>

#include <pybind11/stl.h>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "brimstone/matrix/dose_matrix.hpp"

namespace brimstone::bindings {

namespace {

template <class Index>
using IndexArray = py::array_t<Index, py::array::c_style>;
using ValueArray = py::array_t<float, py::array::c_style>;

/// A csc_matrix's arrays, checked: nothing they name lies outside.
template <class Index>
CompressedColumns<Index> to_columns(std::size_t rows, const std::vector<std::int64_t>& start,
                                    const IndexArray<Index>& row, const ValueArray& value) {
    if (start.empty() || start.front() != 0 || start.back() != row.size() || row.size() != value.size()) {
        throw std::invalid_argument("column_start, row and value do not describe one matrix");
    }
    if (!std::is_sorted(start.begin(), start.end())) {
        throw std::invalid_argument("column_start must not fall");
    }
    if (row.size() > 0) {
        const auto [lowest, highest] = std::minmax_element(row.data(), row.data() + row.size());
        if (*lowest < 0 || static_cast<std::size_t>(*highest) >= rows) {
            throw std::invalid_argument("the matrix has entries in rows " + std::to_string(*lowest) + " to " +
                                        std::to_string(*highest) + "; there are " + std::to_string(rows));
        }
    }
    return {rows, start.size() - 1, start.data(), row.data(), value.data()};
}

template <class Index>
std::shared_ptr<DoseMatrix> make_dose_matrix(std::size_t rows, const Array<std::int64_t>& column_start,
                                             const IndexArray<Index>& row, const ValueArray& value,
                                             const Array<std::int32_t>& row_map, std::size_t kept_rows,
                                             const Array<std::uint32_t>& columns, int threads) {
    const std::vector<std::int64_t> start = to_vector(column_start, "column_start");
    const CompressedColumns<Index> source = to_columns(rows, start, row, value);
    const std::vector<std::int32_t> map = to_vector_of(row_map, rows, "row_map");
    const std::vector<std::uint32_t> kept = to_vector(columns, "columns");
    for (const std::uint32_t column : kept) {
        if (column >= source.columns) {
            throw std::invalid_argument("column " + std::to_string(column) + " is not in the matrix");
        }
    }
    for (const std::int32_t target : map) {
        if (target >= static_cast<std::int64_t>(kept_rows)) {
            throw std::invalid_argument("row_map points to row " + std::to_string(target) + " of " +
                                        std::to_string(kept_rows));
        }
    }
    const py::gil_scoped_release release;
    return std::make_shared<DoseMatrix>(DoseMatrix::from_columns(source, map, kept_rows, kept, threads));
}

template <class Index>
py::array_t<double> column_sums(std::size_t rows, const Array<std::int64_t>& column_start,
                                const IndexArray<Index>& row, const ValueArray& value,
                                const Array<double>& row_weight, int threads) {
    const std::vector<std::int64_t> start = to_vector(column_start, "column_start");
    const CompressedColumns<Index> source = to_columns(rows, start, row, value);
    if (row_weight.ndim() != 2 || static_cast<std::size_t>(row_weight.shape(0)) != rows) {
        throw std::invalid_argument("row_weight must have one row for each of the " + std::to_string(rows));
    }
    const auto n_weights = static_cast<std::size_t>(row_weight.shape(1));
    std::vector<double> sums;
    {
        const py::gil_scoped_release release;
        sums = weighted_column_sums(source, row_weight.data(), n_weights, threads);
    }
    return to_array(sums).reshape(
        {static_cast<py::ssize_t>(source.columns), static_cast<py::ssize_t>(n_weights)});
}

void check_shape(const py::array& factor, std::size_t size) {
    if (factor.ndim() < 1 || factor.ndim() > 2 || static_cast<std::size_t>(factor.shape(0)) != size) {
        throw std::invalid_argument("expected an array of " + std::to_string(size) +
                                    " rows and at most one more dimension");
    }
}

int right_hand_sides(const py::array& factor) {
    return factor.ndim() == 2 ? static_cast<int>(factor.shape(1)) : 1;
}

py::array_t<double> multiply(const DoseMatrix& matrix, const Array<double>& weight, Precision precision,
                             int threads) {
    check_shape(weight, matrix.columns());
    const int n_rhs = right_hand_sides(weight);
    const auto rows = static_cast<py::ssize_t>(matrix.rows());
    constexpr py::ssize_t size = sizeof(double);
    py::array_t<double> dose = weight.ndim() == 2
                                   ? py::array_t<double>({rows, py::ssize_t{n_rhs}}, {size, rows * size})
                                   : py::array_t<double>(rows);
    const double* const w = weight.data();
    double* const d = dose.mutable_data();
    const py::gil_scoped_release release;
    matrix.multiply(w, n_rhs, d, precision, threads);
    return dose;
}

py::array_t<double>
multiply_transposed(const DoseMatrix& matrix,
                    const py::array_t<double, py::array::f_style | py::array::forcecast>& residual,
                    Precision precision, int threads) {
    check_shape(residual, matrix.rows());
    const int n_rhs = right_hand_sides(residual);
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(matrix.columns())};
    if (residual.ndim() == 2) {
        shape.push_back(n_rhs);
    }
    py::array_t<double> result(shape);
    const double* const r = residual.data();
    double* const out = result.mutable_data();
    const py::gil_scoped_release release;
    const std::size_t stride = matrix.rows();
    const auto copy = [=](std::size_t begin, std::size_t end, double* const* rows) {
        for (std::size_t k = 0; k < static_cast<std::size_t>(n_rhs); ++k) {
            std::copy(r + k * stride + begin, r + k * stride + end, rows[k]);
        }
    };
    matrix.multiply_transposed(copy, n_rhs, out, precision, threads);
    return result;
}

} // namespace

void bind_dose_matrix(py::module_& module) {
    // The order of rows is the caller's; these are what makes a good one.
    module.attr("BRICK_VOXELS") = tile_rows;
    module.attr("REGION_VOXELS") = block_rows;

    py::class_<DoseMatrix, std::shared_ptr<DoseMatrix>>(module, "DoseMatrix")
        .def(py::init(&make_dose_matrix<std::int32_t>), py::arg("rows"), py::arg("column_start"),
             py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_map"),
             py::arg("kept_rows"), py::arg("columns"), py::arg("threads") = 1)
        .def(py::init(&make_dose_matrix<std::int64_t>), py::arg("rows"), py::arg("column_start"),
             py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_map"),
             py::arg("kept_rows"), py::arg("columns"), py::arg("threads") = 1)
        .def_property_readonly("shape",
                               [](const DoseMatrix& m) { return py::make_tuple(m.rows(), m.columns()); })
        .def_property_readonly("nonzeros", &DoseMatrix::nonzeros)
        .def_property_readonly("nbytes", &DoseMatrix::bytes)
        .def("multiply", &multiply, py::arg("weight"), py::arg("precision") = Precision::reference,
             py::arg("threads") = 1)
        .def("multiply_transposed", &multiply_transposed, py::arg("residual"),
             py::arg("precision") = Precision::reference, py::arg("threads") = 1);

    module.def("weighted_column_sums", &column_sums<std::int32_t>, py::arg("rows"), py::arg("column_start"),
               py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_weight"),
               py::arg("threads") = 1);
    module.def("weighted_column_sums", &column_sums<std::int64_t>, py::arg("rows"), py::arg("column_start"),
               py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_weight"),
               py::arg("threads") = 1);
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
