#include <memory>
#include <numeric>
#include <utility>

#include "bindings/bindings.hpp"
#include "bindings/conversions.hpp"
#include "brimstone/terms/kl_divergence.hpp"
#include "brimstone/terms/term_sum.hpp"

namespace brimstone::bindings {

namespace {

std::unique_ptr<KlDivergenceTerm> make_term(const Array<double>& share, const Array<double>& target,
                                            KlDirection direction, double weight, const BinSettings& bins,
                                            const DoseMapSpecification* map) {
    const auto voxels = static_cast<std::size_t>(share.size());
    Array<std::uint32_t> voxel(share.size());
    std::iota(voxel.mutable_data(), voxel.mutable_data() + voxels, 0U);
    return std::make_unique<KlDivergenceTerm>(to_quantity(voxel, share, voxels, map), to_target(target),
                                              direction, positive(weight, "weight"), bins);
}

DoseState state_of(const KlDivergenceTerm& term, const Array<double>& dose, const Array<double>& wide_share) {
    return to_state(dose, wide_share, term.n_voxels());
}

} // namespace

void bind_kl_divergence(py::module_& module) {
    py::class_<KlDivergenceTerm>(module, "KlDivergenceTerm")
        .def(py::init(&make_term), py::kw_only(), py::arg("share"), py::arg("target"), py::arg("direction"),
             py::arg("weight"), py::arg("bins"), py::arg("dose_map") = nullptr)
        .def(
            "target",
            [](const KlDivergenceTerm& term, double wide_share) {
                return to_array(term.target(share(wide_share, "wide_share")));
            },
            py::arg("wide_share"))
        .def_property_readonly("first_bin", &KlDivergenceTerm::first_bin)
        .def(
            "histogram",
            [](const KlDivergenceTerm& term, const Array<double>& dose, const Array<double>& wide_share) {
                return to_array(term.histogram(state_of(term, dose, wide_share)));
            },
            py::arg("dose"), py::arg("wide_share"))
        .def(
            "cost",
            [](const KlDivergenceTerm& term, const Array<double>& dose, const Array<double>& wide_share) {
                return TermSum(term, state_of(term, dose, wide_share), false, 1).value();
            },
            py::arg("dose"), py::arg("wide_share"))
        .def(
            "cost_and_gradient",
            [](const KlDivergenceTerm& term, const Array<double>& dose, const Array<double>& wide_share) {
                const DoseState state = state_of(term, dose, wide_share);
                const TermSum sum(term, state, true, 1);
                std::vector<double> gradient(state.voxels());
                std::vector<double> along_wide(state.voxels());
                sum.residual(state, {0, gradient.data(), along_wide.data()}, state.voxels());
                for (std::size_t j = 0; j < gradient.size(); ++j) {
                    // Wide doses are a share of the doses.
                    gradient[j] += wide_share.data()[j] * along_wide[j];
                }
                return py::make_tuple(sum.value(), to_array(gradient));
            },
            py::arg("dose"), py::arg("wide_share"));
}

} // namespace brimstone::bindings
