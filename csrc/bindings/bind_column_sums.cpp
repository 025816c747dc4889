#include <vector>

#include "bindings/bindings.hpp"
#include "bindings/compressed_columns.hpp"

namespace brimstone::bindings {

namespace {

template <class Index>
py::array_t<double> column_sums(std::size_t rows, const Array<std::int64_t>& column_start,
                                const IndexArray<Index>& row, const ValueArray& value,
                                const Array<double>& row_weight, int threads) {
    const std::vector<std::int64_t> start = to_vector(column_start, "column_start");
    const CompressedColumns<Index> source = to_columns(rows, start, row, value, threads);
    if (row_weight.ndim() != 2 || static_cast<std::size_t>(row_weight.shape(0)) != rows) {
        throw std::invalid_argument("row_weight must have one row for each of the " + std::to_string(rows));
    }
    for (py::ssize_t i = 0; i < row_weight.size(); ++i) {
        at_least(0.0, row_weight.data()[i], "an entry of row_weight");
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

template <class Index>
void bind(py::module_& module) {
    module.def("weighted_column_sums", &column_sums<Index>, py::arg("rows"), py::arg("column_start"),
               py::arg("row").noconvert(), py::arg("value").noconvert(), py::arg("row_weight"),
               py::arg("threads") = 1);
}

} // namespace

void bind_column_sums(py::module_& module) {
    bind<std::int32_t>(module);
    bind<std::int64_t>(module);
}

} // namespace brimstone::bindings
