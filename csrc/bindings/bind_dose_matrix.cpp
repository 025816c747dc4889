#include <algorithm>
#include <memory>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "brimstone/dose_matrix.hpp"

namespace brimstone::bindings {

namespace {

template <class Index>
std::shared_ptr<DoseMatrix> make_dose_matrix(std::size_t rows, const Array<std::int64_t>& column_start,
                                             const py::array_t<Index, py::array::c_style>& row,
                                             const py::array_t<float, py::array::c_style>& value,
                                             const Array<std::int32_t>& row_map, std::size_t kept_rows,
                                             const Array<std::uint32_t>& columns) {
    const std::vector<std::int64_t> start = to_vector(column_start, "column_start");
    const std::vector<std::int32_t> map = to_vector_of(row_map, rows, "row_map");
    const std::vector<std::uint32_t> kept = to_vector(columns, "columns");
    if (start.empty() || start.front() != 0 || start.back() != row.size() || row.size() != value.size()) {
        throw std::invalid_argument("column_start, row and value do not describe one matrix");
    }
    if (!std::is_sorted(start.begin(), start.end())) {
        throw std::invalid_argument("column_start must not fall");
    }
    for (const std::uint32_t column : kept) {
        if (column + std::size_t{1} >= start.size()) {
            throw std::invalid_argument("column " + std::to_string(column) + " is not in the matrix");
        }
    }
    for (const std::int32_t target : map) {
        if (target >= static_cast<std::int64_t>(kept_rows)) {
            throw std::invalid_argument("row_map points to row " + std::to_string(target) + " of " +
                                        std::to_string(kept_rows));
        }
    }
    const Index* const rows_begin = row.data();
    for (py::ssize_t p = 0; p < row.size(); ++p) {
        if (rows_begin[p] < 0 || static_cast<std::size_t>(rows_begin[p]) >= rows) {
            throw std::invalid_argument("entry " + std::to_string(p) + " is in row " +
                                        std::to_string(rows_begin[p]) + " of " + std::to_string(rows));
        }
    }
    const CompressedColumns<Index> source{rows, start.size() - 1, start.data(), rows_begin, value.data()};
    const py::gil_scoped_release release;
    return std::make_shared<DoseMatrix>(source, map, kept_rows, kept);
}

template <class Multiply>
py::array_t<double> product(const Array<double>& factor, std::size_t size_in, std::size_t size_out,
                            const Multiply& multiply) {
    if (factor.ndim() < 1 || factor.ndim() > 2 || static_cast<std::size_t>(factor.shape(0)) != size_in) {
        throw std::invalid_argument("expected an array of " + std::to_string(size_in) +
                                    " rows and at most one more dimension");
    }
    const int n_rhs = factor.ndim() == 2 ? static_cast<int>(factor.shape(1)) : 1;
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(size_out)};
    if (factor.ndim() == 2) {
        shape.push_back(n_rhs);
    }
    py::array_t<double> result(shape);
    const double* const in = factor.data();
    double* const out = result.mutable_data();
    {
        const py::gil_scoped_release release;
        multiply(in, n_rhs, out);
    }
    return result;
}

} // namespace

void bind_dose_matrix(py::module_& module) {
    py::class_<DoseMatrix, std::shared_ptr<DoseMatrix>>(module, "DoseMatrix")
        .def(py::init(&make_dose_matrix<std::int32_t>), py::arg("rows"), py::arg("column_start"),
             py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_map"),
             py::arg("kept_rows"), py::arg("columns"))
        .def(py::init(&make_dose_matrix<std::int64_t>), py::arg("rows"), py::arg("column_start"),
             py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_map"),
             py::arg("kept_rows"), py::arg("columns"))
        .def_property_readonly("shape",
                               [](const DoseMatrix& m) { return py::make_tuple(m.rows(), m.columns()); })
        .def_property_readonly("nonzeros", &DoseMatrix::nonzeros)
        .def_property_readonly("nbytes", &DoseMatrix::bytes)
        .def(
            "multiply",
            [](const DoseMatrix& m, const Array<double>& weight, int threads) {
                return product(weight, m.columns(), m.rows(), [&](const double* in, int n_rhs, double* out) {
                    m.multiply(in, n_rhs, out, threads);
                });
            },
            py::arg("weight"), py::arg("threads") = 1)
        .def(
            "multiply_transposed",
            [](const DoseMatrix& m, const Array<double>& residual, int threads) {
                return product(residual, m.rows(), m.columns(),
                               [&](const double* in, int n_rhs, double* out) {
                                   m.multiply_transposed(in, n_rhs, out, threads);
                               });
            },
            py::arg("residual"), py::arg("threads") = 1);
}

} // namespace brimstone::bindings
