#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include <pybind11/stl.h>

#include "bindings/bindings.hpp"
#include "bindings/conversions.hpp"
#include "brimstone/plan/multilevel_plan.hpp"

namespace brimstone::bindings {

namespace {

/// Voxels, shares of volume, and what is looked at in them: a map, or null, of what.
using QuantityArrays = std::tuple<Array<std::uint32_t>, Array<double>, const DoseMapSpecification*, Channel>;

/// A matrix and its product with beamlets that no weight changes; or nothing.
using FurtherArrays = std::optional<std::pair<std::shared_ptr<DoseMatrix>, Array<double>>>;

Biology make_biology(FurtherArrays alpha, FurtherArrays sqrt_beta, FurtherArrays let,
                     const Array<double>& alpha_x, const Array<double>& beta_x) {
    Biology result;
    const auto add = [&](std::size_t number, FurtherArrays& given, const char* base_name) {
        if (given) {
            auto& [matrix, base] = *given;
            FurtherMatrix& further = result.further[number];
            further.base = to_amounts(base, base.size() == 0 ? 0 : matrix->rows(), base_name);
            further.matrix = std::move(matrix);
        }
    };
    add(Biology::alpha, alpha, "base of alpha");
    add(Biology::sqrt_beta, sqrt_beta, "base of sqrt_beta");
    add(Biology::let, let, "base of let");
    result.alpha_x = to_vector_of(alpha_x, alpha_x.size(), "alpha_x");
    check_each(result.alpha_x, "alpha_x", [](double value) { return value > 0.0; }, "above 0");
    result.beta_x = to_amounts(beta_x, alpha_x.size(), "beta_x");
    return result;
}

std::shared_ptr<const Biology> checked(const Biology& biology, const DoseMatrix& matrix) {
    for (const auto& [other, base] : biology.further) {
        if (other && (other->rows() != matrix.rows() || other->columns() != matrix.columns())) {
            throw std::invalid_argument("the matrices of biology and of dose have different shapes");
        }
    }
    if (biology.alpha_x.size() != matrix.rows()) {
        throw std::invalid_argument("alpha_x has " + std::to_string(biology.alpha_x.size()) +
                                    " values; the matrix of dose has " + std::to_string(matrix.rows()) +
                                    " rows");
    }
    return std::make_shared<const Biology>(biology);
}

void check_terms(const std::vector<TermSpecification>& terms, const std::vector<ScenarioRisk>& groups,
                 std::size_t n_quantities) {
    for (const TermSpecification& term : terms) {
        if (term.quantity >= n_quantities) {
            throw std::invalid_argument("a term names quantity " + std::to_string(term.quantity) + " of " +
                                        std::to_string(n_quantities));
        }
        const auto [group, scenario] = term.place;
        if (group == TermPlace::no_group) {
            continue;
        }
        if (group >= groups.size() || scenario >= groups[group].probability.size()) {
            throw std::invalid_argument("a term names scenario " + std::to_string(scenario) + " of group " +
                                        std::to_string(group) + ", which is not there");
        }
    }
}

std::unique_ptr<MultilevelPlan>
make_plan(std::shared_ptr<DoseMatrix> matrix, const std::vector<QuantityArrays>& quantities,
          const Array<double>& base_dose, const std::vector<TermSpecification>& terms, double cost_offset,
          Precision precision, int threads, const Biology* biology, const std::vector<ScenarioRisk>& groups) {
    PlanGrid grid;
    for (const auto& [voxel, volume, map, channel] : quantities) {
        grid.quantities.push_back(to_quantity(voxel, volume, matrix->rows(), map));
        grid.quantities.back().channel = channel;
        if (channel != Channel::dose && (biology == nullptr || !biology->can_give(channel))) {
            throw std::invalid_argument("a quantity needs matrices of biology that are not there");
        }
    }
    if (biology != nullptr) {
        grid.biology = checked(*biology, *matrix);
    }
    if (matrix->columns() == 0) {
        throw std::invalid_argument("a plan needs at least one beamlet");
    }
    std::vector<double> base =
        to_vector_of(base_dose, base_dose.size() == 0 ? 0 : matrix->rows(), "base_dose");
    if (biology != nullptr) {
        check_each(
            base, "base_dose", [](double value) { return value >= 0.0; },
            "at least 0 beside matrices of biology");
    }
    check_terms(terms, groups, quantities.size());
    grid.base_dose = std::make_shared<const std::vector<double>>(std::move(base));
    grid.matrix = std::move(matrix);
    return std::make_unique<MultilevelPlan>(std::move(grid), terms, groups,
                                            at_least(0.0, cost_offset, "cost_offset"), precision,
                                            thread_count(threads));
}

MultilevelPlan with_terms(const MultilevelPlan& plan, const std::vector<TermSpecification>& terms) {
    check_terms(terms, {}, plan.grid(0).quantities.size());
    return plan.with_terms(terms);
}

void add_coarser_grid(MultilevelPlan& plan, const Array<std::uint32_t>& voxel, std::size_t n_voxels,
                      const Array<std::int64_t>& row_start, const Array<std::uint32_t>& beamlet,
                      const Array<double>& share, std::size_t n_beamlets,
                      std::shared_ptr<DoseMatrix> matrix) {
    const DoseMatrix& finest = *plan.matrix(plan.n_grids() - 1);
    if (n_voxels == 0 || n_voxels >= Coarsening::none || n_beamlets == 0) {
        throw std::invalid_argument("a coarser grid needs at least one voxel and one beamlet");
    }
    if (matrix != nullptr && (matrix->rows() != n_voxels || matrix->columns() != n_beamlets)) {
        throw std::invalid_argument("the coarser grid's matrix has another shape than the grid");
    }
    Coarsening coarsening;
    coarsening.voxel = to_vector_of(voxel, finest.rows(), "voxel");
    coarsening.n_voxels = n_voxels;
    coarsening.row_start = to_vector_of(row_start, finest.columns() + 1, "row_start");
    coarsening.beamlet = to_vector(beamlet, "beamlet");
    coarsening.share = to_amounts(share, coarsening.beamlet.size(), "share");
    coarsening.n_beamlets = n_beamlets;
    const std::vector<std::int64_t>& start = coarsening.row_start;
    if (start.front() != 0 || start.back() != static_cast<std::int64_t>(coarsening.beamlet.size()) ||
        !std::is_sorted(start.begin(), start.end())) {
        throw std::invalid_argument("row_start, beamlet and share do not describe one interpolation");
    }
    for (const std::uint32_t j : coarsening.voxel) {
        if (j >= n_voxels && j != Coarsening::none) {
            throw std::invalid_argument("voxel " + std::to_string(j) + " is not on the coarser grid");
        }
    }
    for (const std::uint32_t i : coarsening.beamlet) {
        if (i >= n_beamlets) {
            throw std::invalid_argument("beamlet " + std::to_string(i) + " is not on the coarser grid");
        }
    }
    const py::gil_scoped_release release;
    plan.add_coarser_grid(std::move(coarsening), std::move(matrix));
}

void penalize_roughness(MultilevelPlan& plan, std::size_t grid, const Array<std::uint32_t>& neighbors,
                        double weight, double unit) {
    if (neighbors.ndim() != 2 || neighbors.shape(1) != 2) {
        throw std::invalid_argument("neighbors must have the shape (pairs, 2)");
    }
    const auto pair = neighbors.unchecked<2>();
    std::vector<FluenceRoughness::Neighbors> pairs;
    for (py::ssize_t p = 0; p < pair.shape(0); ++p) {
        pairs.emplace_back(pair(p, 0), pair(p, 1));
        const std::uint32_t larger = std::max(pair(p, 0), pair(p, 1));
        if (larger >= plan.n_beamlets(grid)) {
            throw std::invalid_argument("beamlet " + std::to_string(larger) + " is not on grid " +
                                        std::to_string(grid));
        }
    }
    plan.penalize_roughness(
        grid, FluenceRoughness(std::move(pairs), at_least(0.0, weight, "weight"), positive(unit, "unit")));
}

/// For rows of the finest grid the rows of another one that they lie in.
py::array_t<std::uint32_t> rows_on_grid(const MultilevelPlan& plan, const Array<std::uint32_t>& rows,
                                        std::size_t grid) {
    std::vector<std::uint32_t> row = to_vector(rows, "rows");
    for (std::size_t coarser = 1; coarser <= grid; ++coarser) {
        const std::vector<std::uint32_t>& of_finer = plan.grid(coarser).from_finer.voxel;
        for (std::uint32_t& r : row) {
            if (r >= of_finer.size()) {
                throw std::invalid_argument("row " + std::to_string(r) + " has none on grid " +
                                            std::to_string(coarser));
            }
            r = of_finer[r];
        }
    }
    return to_array(row);
}

py::tuple evaluate(const MultilevelPlan& plan, const BinSettings& bins, const Array<double>& weights,
                   double wide_share) {
    const auto prescription = plan.prescription(0, bins);
    const std::vector<double> w = to_amounts(weights, prescription->matrix().columns(), "weights");
    const std::vector<double> wide_shares(w.size(), share(wide_share, "wide_share"));
    const std::vector<double> slope(w.size(), 0.0);
    std::vector<double> gradient;
    double cost = 0.0;
    {
        const py::gil_scoped_release release;
        PlanState state;
        prescription->compute_dose(w, wide_shares, state);
        cost = prescription->cost_and_gradient(state, w, wide_shares, slope, gradient);
    }
    return py::make_tuple(cost, to_array(gradient));
}

} // namespace

void bind_multilevel_plan(py::module_& module) {
    module.attr("NO_ROW") = Coarsening::none;

    py::class_<Biology>(module, "Biology")
        .def(py::init(&make_biology), py::kw_only(), py::arg("alpha") = py::none(),
             py::arg("sqrt_beta") = py::none(), py::arg("let") = py::none(), py::arg("alpha_x"),
             py::arg("beta_x"));

    py::class_<MultilevelPlan>(module, "MultilevelPlan")
        .def(py::init(&make_plan), py::kw_only(), py::arg("matrix"), py::arg("quantities"),
             py::arg("base_dose"), py::arg("terms"), py::arg("cost_offset"), py::arg("precision"),
             py::arg("threads"), py::arg("biology") = nullptr,
             py::arg("groups") = std::vector<ScenarioRisk>())
        .def("with_terms", &with_terms, py::arg("terms"))
        .def("add_coarser_grid", &add_coarser_grid, py::kw_only(), py::arg("voxel"), py::arg("n_voxels"),
             py::arg("row_start"), py::arg("beamlet"), py::arg("share"), py::arg("n_beamlets"),
             py::arg("matrix") = nullptr)
        .def(
            "matrix",
            [](const MultilevelPlan& plan, std::size_t grid) {
                return std::const_pointer_cast<DoseMatrix>(plan.matrix(grid));
            },
            py::arg("grid"))
        .def("penalize_roughness", &penalize_roughness, py::kw_only(), py::arg("grid"), py::arg("neighbors"),
             py::arg("weight"), py::arg("unit"))
        .def_property_readonly("n_grids", &MultilevelPlan::n_grids)
        .def(
            "matrix_shape",
            [](const MultilevelPlan& plan, std::size_t grid) {
                const DoseMatrix& matrix = *plan.matrix(grid);
                return py::make_tuple(matrix.rows(), matrix.columns(), matrix.nonzeros());
            },
            py::arg("grid"))
        .def(
            "grid_dose",
            [](const MultilevelPlan& plan, std::size_t grid, const Array<double>& weights, int threads) {
                const DoseMatrix& matrix = *plan.matrix(grid);
                const std::vector<double> w = to_amounts(weights, matrix.columns(), "weights");
                std::vector<double> dose(matrix.rows());
                matrix.multiply(w.data(), 1, dose.data(), Precision::reference, thread_count(threads));
                return to_array(dose);
            },
            py::arg("grid"), py::arg("weights"), py::arg("threads") = 1)
        .def("rows_on_grid", &rows_on_grid, py::arg("rows"), py::arg("grid"))
        .def(
            "transfer",
            [](const MultilevelPlan& plan, const Array<double>& weights, std::size_t from, std::size_t to) {
                return to_array(
                    plan.transfer(to_amounts(weights, plan.n_beamlets(from), "weights"), from, to));
            },
            py::arg("weights"), py::arg("from_grid"), py::arg("to_grid"))
        .def("evaluate", &evaluate, py::arg("bins"), py::arg("weights"), py::arg("wide_share"))
        .def(
            "objective",
            [](const MultilevelPlan& plan, const LevelSettings& level) { return plan.objective(level); },
            py::arg("level"));
}

} // namespace brimstone::bindings
