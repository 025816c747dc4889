#include <algorithm>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/bindings.hpp"
#include "bindings/compressed_columns.hpp"
#include "brimstone/matrix/dose_matrix.hpp"

namespace brimstone::bindings {

namespace {

/// For every row of a matrix its row among those kept, or -1.
/// @param taken  which of those kept other rows have
std::vector<std::int32_t> to_row_map(const Array<std::int32_t>& row_map, std::size_t rows,
                                     std::vector<bool>& taken) {
    std::vector<std::int32_t> map = to_vector_of(row_map, rows, "row_map");
    const std::size_t kept_rows = taken.size();
    for (const std::int32_t row : map) {
        if (row < -1 || row >= static_cast<std::int64_t>(kept_rows)) {
            throw std::invalid_argument("row_map points to row " + std::to_string(row) + " of " +
                                        std::to_string(kept_rows));
        }
        if (row >= 0) {
            if (taken[static_cast<std::size_t>(row)]) {
                throw std::invalid_argument("row_map points to row " + std::to_string(row) + " twice");
            }
            taken[static_cast<std::size_t>(row)] = true;
        }
    }
    return map;
}

void check_columns(const std::vector<std::uint32_t>& kept, std::size_t columns) {
    for (const std::uint32_t column : kept) {
        if (column >= columns) {
            throw std::invalid_argument("column " + std::to_string(column) + " is not in the matrix");
        }
    }
}

/// A csc_matrix with the map of its rows.
template <class Index>
struct MappedSource {
    std::vector<std::int64_t> start;
    IndexArray<Index> row;
    ValueArray value;
    std::vector<std::int32_t> map;
    CompressedColumns<Index> columns;
};

/// What a matrix is made of, held while it is.
struct Sources {
    std::vector<bool> taken; ///< rows that one of them has
    std::vector<std::uint32_t> columns;
    std::vector<std::shared_ptr<const void>> held;
    std::vector<DoseMatrix::ColumnSource> read;

    template <class Index>
    void add(std::size_t rows, const py::tuple& arrays, int threads) {
        auto source = std::make_shared<MappedSource<Index>>();
        source->start = to_vector(arrays[0].cast<Array<std::int64_t>>(), "column_start");
        source->row = arrays[1].cast<IndexArray<Index>>();
        source->value = arrays[2].cast<ValueArray>();
        source->map = to_row_map(arrays[3].cast<Array<std::int32_t>>(), rows, taken);
        source->columns = to_columns(rows, source->start, source->row, source->value, threads);
        check_columns(columns, source->columns.columns);
        read.push_back(DoseMatrix::mapped_columns(source->columns, source->map));
        held.push_back(std::move(source));
    }
};

/// @param blocks  of each source column_start, row, value and row_map
std::shared_ptr<DoseMatrix> from_blocks(std::size_t rows, const std::vector<py::tuple>& blocks,
                                        std::size_t kept_rows, const Array<std::uint32_t>& columns,
                                        int threads) {
    Sources sources{std::vector<bool>(kept_rows, false), to_vector(columns, "columns"), {}, {}};
    for (const py::tuple& arrays : blocks) {
        if (arrays.size() != 4) {
            throw std::invalid_argument("a block is (column_start, row, value, row_map)");
        }
        if (py::isinstance<IndexArray<std::int32_t>>(arrays[1])) {
            sources.add<std::int32_t>(rows, arrays, threads);
        } else {
            sources.add<std::int64_t>(rows, arrays, threads);
        }
    }
    const py::gil_scoped_release release;
    return std::make_shared<DoseMatrix>(
        DoseMatrix::from_sources(sources.read, kept_rows, sources.columns, thread_count(threads)));
}

template <class Index>
std::shared_ptr<DoseMatrix> make_dose_matrix(std::size_t rows, const Array<std::int64_t>& column_start,
                                             const IndexArray<Index>& row, const ValueArray& value,
                                             const Array<std::int32_t>& row_map, std::size_t kept_rows,
                                             const Array<std::uint32_t>& columns, int threads) {
    const std::vector<std::int64_t> start = to_vector(column_start, "column_start");
    const CompressedColumns<Index> source = to_columns(rows, start, row, value, threads);
    std::vector<bool> taken(kept_rows, false);
    const std::vector<std::int32_t> map = to_row_map(row_map, rows, taken);
    const std::vector<std::uint32_t> kept = to_vector(columns, "columns");
    check_columns(kept, source.columns);
    const py::gil_scoped_release release;
    return std::make_shared<DoseMatrix>(DoseMatrix::from_columns(source, map, kept_rows, kept, threads));
}

/// How an array of the matrix looks in NumPy: a row for each record.
template <class T>
struct Numbers {
    using type = T;
};
template <>
struct Numbers<Run> {
    using type = std::uint32_t;
};
template <>
struct Numbers<LooseEntry> {
    using type = std::uint16_t;
};
template <class T>
using NumbersOf = typename Numbers<T>::type;
template <class T>
constexpr std::size_t record_size = sizeof(T) / sizeof(NumbersOf<T>);

py::dict arrays_of(const std::shared_ptr<DoseMatrix>& matrix) {
    const py::object owner = py::cast(matrix);
    py::dict arrays;
    matrix->for_each_array([&](const char* name, const auto& buffer) {
        using Record = std::decay_t<decltype(buffer[0])>;
        std::vector<std::size_t> shape{buffer.size()};
        if (record_size<Record> > 1) {
            shape.push_back(record_size<Record>);
        }
        py::array_t<NumbersOf<Record>> view(shape, reinterpret_cast<const NumbersOf<Record>*>(buffer.data()),
                                            owner);
        py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
        arrays[name] = std::move(view);
    });
    return arrays;
}

/// Holds an array in memory; it may be let go of where the interpreter is not held.
std::shared_ptr<const void> keeper_of(py::array array) {
    return {new py::array(std::move(array)), [](py::array* held) {
                const py::gil_scoped_acquire acquired;
                delete held;
            }};
}

std::shared_ptr<DoseMatrix> from_arrays(std::size_t rows, std::size_t columns, std::size_t nonzeros,
                                        const py::dict& arrays) {
    const auto take = [&](const char* name, auto& buffer) {
        using Record = std::decay_t<decltype(buffer[0])>;
        using Array = py::array_t<NumbersOf<Record>, py::array::c_style>;
        const bool there = arrays.contains(name) && py::isinstance<Array>(arrays[name]);
        const auto given = there ? py::reinterpret_borrow<Array>(arrays[name]) : Array();
        const py::ssize_t dimensions = record_size<Record> > 1 ? 2 : 1;
        if (!there || given.ndim() != dimensions ||
            (dimensions == 2 && static_cast<std::size_t>(given.shape(1)) != record_size<Record>)) {
            throw std::invalid_argument(std::string("the dose matrix has no array '") + name +
                                        "' of the right shape and type");
        }
        buffer = std::decay_t<decltype(buffer)>(reinterpret_cast<const Record*>(given.data()),
                                                static_cast<std::size_t>(given.shape(0)), keeper_of(given));
    };
    return std::make_shared<DoseMatrix>(rows, columns, nonzeros, take);
}

/// The numbers of right-hand sides in a factor of a product; its rows are checked.
int right_hand_sides(const py::array_t<double>& factor, std::size_t rows) {
    if (factor.ndim() < 1 || factor.ndim() > 2 || static_cast<std::size_t>(factor.shape(0)) != rows) {
        throw std::invalid_argument("expected an array of " + std::to_string(rows) +
                                    " rows and at most one more dimension");
    }
    for (py::ssize_t i = 0; i < factor.size(); ++i) {
        finite(factor.data()[i], "an entry of a product's factor");
    }
    return factor.ndim() == 2 ? static_cast<int>(factor.shape(1)) : 1;
}

py::array_t<double> multiply(const DoseMatrix& matrix, const Array<double>& weight, Precision precision,
                             int threads) {
    const int n_rhs = right_hand_sides(weight, matrix.columns());
    const auto rows = static_cast<py::ssize_t>(matrix.rows());
    constexpr py::ssize_t size = sizeof(double);
    py::array_t<double> dose = weight.ndim() == 2
                                   ? py::array_t<double>({rows, py::ssize_t{n_rhs}}, {size, rows * size})
                                   : py::array_t<double>(rows);
    const double* const w = weight.data();
    double* const d = dose.mutable_data();
    const py::gil_scoped_release release;
    matrix.multiply(w, n_rhs, d, precision, thread_count(threads));
    return dose;
}

py::array_t<double>
multiply_transposed(const DoseMatrix& matrix,
                    const py::array_t<double, py::array::f_style | py::array::forcecast>& residual,
                    Precision precision, int threads) {
    const int n_rhs = right_hand_sides(residual, matrix.rows());
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
    matrix.multiply_transposed(copy, n_rhs, out, precision, thread_count(threads));
    return result;
}

} // namespace

void bind_dose_matrix(py::module_& module) {
    // The order of rows is the caller's; these are what makes a good one.
    module.attr("BRICK_VOXELS") = tile_rows;
    module.attr("REGION_VOXELS") = block_rows;

    py::class_<DoseMatrix, std::shared_ptr<DoseMatrix>> matrix(module, "DoseMatrix");
    const auto define = [&](auto make) {
        matrix.def(py::init(make), py::arg("rows"), py::arg("column_start"), py::arg("row").noconvert(),
                   py::arg("value").noconvert(), py::arg("row_map"), py::arg("kept_rows"), py::arg("columns"),
                   py::arg("threads") = 1);
    };
    define(&make_dose_matrix<std::int32_t>);
    define(&make_dose_matrix<std::int64_t>);
    matrix
        .def_property_readonly("shape",
                               [](const DoseMatrix& m) { return py::make_tuple(m.rows(), m.columns()); })
        .def_property_readonly("nonzeros", &DoseMatrix::nonzeros)
        .def_property_readonly("nbytes", &DoseMatrix::bytes)
        .def("arrays", &arrays_of)
        .def_static("from_blocks", &from_blocks, py::kw_only(), py::arg("rows"), py::arg("blocks"),
                    py::arg("kept_rows"), py::arg("columns"), py::arg("threads") = 1)
        .def_static("from_arrays", &from_arrays, py::kw_only(), py::arg("rows"), py::arg("columns"),
                    py::arg("nonzeros"), py::arg("arrays"))
        .def("multiply", &multiply, py::arg("weight"), py::arg("precision") = Precision::reference,
             py::arg("threads") = 1)
        .def("multiply_transposed", &multiply_transposed, py::arg("residual"),
             py::arg("precision") = Precision::reference, py::arg("threads") = 1);
}

} // namespace brimstone::bindings
