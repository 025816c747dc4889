#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "dose/beamlet_dose.hpp"
#include "dose/field_dose.hpp"
#include "dose/fluence_map.hpp"
#include "dose/kernel_tables.hpp"
#include "dose/patient.hpp"
#include "dose/settings.hpp"

namespace brimstone::bindings {

namespace {

using dose::Vec3;

dose::Grid to_grid(const py::array& array, const Vec3& spacing, const Vec3& origin) {
    if (array.ndim() != 3) {
        throw std::invalid_argument("the density must be a three-dimensional array [x, y, z], not " +
                                    std::to_string(array.ndim()) + "-dimensional");
    }
    dose::Grid grid{};
    for (int a = 0; a < 3; ++a) {
        constexpr py::ssize_t longest = 100000;
        grid.shape[static_cast<std::size_t>(a)] = static_cast<int>(std::min(array.shape(a), longest));
    }
    grid.spacing = spacing;
    grid.origin = origin;
    dose::check(grid);
    return grid;
}

std::shared_ptr<dose::Patient> make_patient(const Array<float>& density, const Vec3& spacing,
                                            const Vec3& origin, const std::optional<Array<bool>>& also_wanted,
                                            double air_density) {
    const dose::Grid grid = to_grid(density, spacing, origin);
    const std::uint8_t* wanted = nullptr;
    if (also_wanted) {
        if (also_wanted->ndim() != 3 ||
            !std::equal(density.shape(), density.shape() + 3, also_wanted->shape())) {
            throw std::invalid_argument("also_wanted must have the shape of the density");
        }
        wanted = reinterpret_cast<const std::uint8_t*>(also_wanted->data());
    }
    std::vector<float> values(density.data(), density.data() + density.size());
    const py::gil_scoped_release release;
    return std::make_shared<dose::Patient>(grid, std::move(values), wanted, air_density);
}

/// Calls a Python function, which must outlive the result, with what is done and all there is. Ctrl-C is
/// noticed here too. Copies of the result are made without Python's lock, so they must not hold the function
/// itself.
dose::Monitor::Report to_report(const std::optional<py::function>& progress) {
    return [function = &progress](std::size_t done, std::size_t total) {
        const py::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) {
            throw py::error_already_set();
        }
        if (!*function) {
            return true;
        }
        const py::object answer = (**function)(done, total);
        return answer.is_none() || answer.cast<bool>();
    };
}

template <class T>
py::array_t<T> take(Buffer<T>&& buffer) {
    auto* const kept = new Buffer<T>(std::move(buffer));
    const py::capsule owner(kept, [](void* p) { delete static_cast<Buffer<T>*>(p); });
    return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

dose::Beamlets to_beamlets(const Array<double>& xy, const std::array<double, 2>& size) {
    if (xy.ndim() != 2 || xy.shape(1) != 2) {
        throw std::invalid_argument("beamlet centers must be an array of (x, y) rows");
    }
    dose::Beamlets beamlets{{}, {}, size[0], size[1]};
    for (py::ssize_t b = 0; b < xy.shape(0); ++b) {
        beamlets.x.push_back(xy.at(b, 0));
        beamlets.y.push_back(xy.at(b, 1));
    }
    return beamlets;
}

py::tuple beamlet_doses(const dose::Patient& patient, const dose::KernelTables& kernel,
                        const dose::Beam& beam, const Array<double>& xy, const std::array<double, 2>& size,
                        const dose::Settings& settings, const std::optional<py::function>& progress,
                        int threads) {
    const dose::Beamlets beamlets = to_beamlets(xy, size);
    const dose::Monitor::Report report = to_report(progress);
    dose::SparseColumns columns;
    {
        const py::gil_scoped_release release;
        columns = dose::compute_beamlets(patient, kernel, beam, beamlets, settings, report, threads);
    }
    return py::make_tuple(to_array(columns.start), take(std::move(columns.voxel)),
                          take(std::move(columns.dose)));
}

py::array_t<float> field_dose(const dose::Patient& patient, const dose::KernelTables& kernel,
                              const dose::Beam& beam, const Array<double>& x_edges,
                              const Array<double>& y_edges, const Array<double>& fluence,
                              const dose::Settings& settings, const std::optional<py::function>& progress,
                              int threads) {
    if (fluence.ndim() != 2 || fluence.shape(0) + 1 != y_edges.size() ||
        fluence.shape(1) + 1 != x_edges.size()) {
        throw std::invalid_argument(
            "the fluence must be an array [y, x] of one value for each cell between " +
            std::to_string(y_edges.size()) + " edges along y and " + std::to_string(x_edges.size()) +
            " along x");
    }
    const dose::FluenceMap map(to_vector(x_edges, "x_edges"), to_vector(y_edges, "y_edges"),
                               std::vector<double>(fluence.data(), fluence.data() + fluence.size()));
    const dose::Monitor::Report report = to_report(progress);
    std::vector<float> values;
    {
        const py::gil_scoped_release release;
        values = dose::compute_field(patient, kernel, beam, map, settings, report, threads);
    }
    const dose::Index3& shape = patient.grid().shape;
    py::array_t<float> result({shape[0], shape[1], shape[2]});
    std::copy(values.begin(), values.end(), result.mutable_data());
    return result;
}

py::dict estimate(const dose::Patient& patient, const dose::Beam& beam, const Array<double>& xy,
                  const std::array<double, 2>& size, const dose::Settings& settings) {
    const dose::BeamletEstimate estimated =
        dose::estimate_beamlets(patient, beam, to_beamlets(xy, size), settings);
    py::dict result;
    result["entries"] = estimated.entries;
    result["bytes"] = estimated.bytes;
    return result;
}

void bind_settings_of_dose(py::module_& module) {
    py::enum_<dose::KernelStart>(module, "KernelStart")
        .value("falling", dose::KernelStart::falling)
        .value("rising", dose::KernelStart::rising);
    py::enum_<dose::StepDensity>(module, "StepDensity")
        .value("lower_corner", dose::StepDensity::lower_corner)
        .value("nearest", dose::StepDensity::nearest);
    py::enum_<dose::DepthRule>(module, "DepthRule")
        .value("first_ray", dose::DepthRule::first_ray)
        .value("center", dose::DepthRule::center);
    py::class_<dose::Settings>(module, "DoseSettings")
        .def_static("opentps", &dose::opentps_settings)
        .def_static("full", &dose::full_settings)
        .def_readwrite("polar", &dose::Settings::polar)
        .def_readwrite("azimuth", &dose::Settings::azimuth)
        .def_readwrite("pi", &dose::Settings::pi)
        .def_readwrite("azimuth_turn", &dose::Settings::azimuth_turn)
        .def_readwrite("step_voxels", &dose::Settings::step_voxels)
        .def_readwrite("near_steps", &dose::Settings::near_steps)
        .def_readwrite("far_step", &dose::Settings::far_step)
        .def_readwrite("kernel_start", &dose::Settings::kernel_start)
        .def_readwrite("step_density", &dose::Settings::step_density)
        .def_readwrite("depth_rule", &dose::Settings::depth_rule)
        .def_readwrite("sub_voxels", &dose::Settings::sub_voxels)
        .def_readwrite("sub_voxel_shift", &dose::Settings::sub_voxel_shift)
        .def_readwrite("reach_mm", &dose::Settings::reach_mm)
        .def_readwrite("cutoff", &dose::Settings::cutoff);
}

} // namespace

void bind_dose(py::module_& parent) {
    py::module_ module = parent.def_submodule("dose", "Collapsed cone dose.");
    py::register_exception<dose::Canceled>(module, "Canceled", PyExc_RuntimeError);
    bind_settings_of_dose(module);

    py::class_<dose::KernelTables, std::shared_ptr<dose::KernelTables>>(module, "KernelTables")
        .def(py::init([](const Array<double>& radii, const Array<double>& angles,
                         const Array<double>& energies, const Array<double>& fluence, const Array<double>& mu,
                         const Array<double>& mu_en, const Array<double>& kernel) {
                 const py::ssize_t shape[3] = {energies.size(), angles.size(), radii.size()};
                 if (kernel.ndim() != 3 || !std::equal(shape, shape + 3, kernel.shape())) {
                     throw std::invalid_argument(
                         "the kernel's table must be an array [energy, angle, radius] of " +
                         std::to_string(shape[0]) + " x " + std::to_string(shape[1]) + " x " +
                         std::to_string(shape[2]));
                 }
                 auto tables = std::make_shared<dose::KernelTables>(dose::KernelTables{
                     to_vector(radii, "radii"), to_vector(angles, "angles"), to_vector(energies, "energies"),
                     to_vector(fluence, "fluence"), to_vector(mu, "mu"), to_vector(mu_en, "mu_en"),
                     std::vector<double>(kernel.data(), kernel.data() + kernel.size())});
                 dose::check(*tables);
                 return tables;
             }),
             py::kw_only(), py::arg("radii"), py::arg("angles"), py::arg("energies"), py::arg("fluence"),
             py::arg("mu"), py::arg("mu_en"), py::arg("kernel"));

    py::class_<dose::Patient, std::shared_ptr<dose::Patient>>(module, "DosePatient")
        .def(py::init(&make_patient), py::arg("density"), py::kw_only(), py::arg("spacing"),
             py::arg("origin"), py::arg("also_wanted") = py::none(),
             py::arg("air_density") = dose::default_air_density)
        .def("wanted", [](const dose::Patient& patient) {
            const dose::Grid& grid = patient.grid();
            py::array_t<bool> mask({grid.shape[0], grid.shape[1], grid.shape[2]});
            for (std::size_t i = 0; i < grid.voxels(); ++i) {
                mask.mutable_data()[i] = patient.wanted(i);
            }
            return mask;
        });

    py::class_<dose::Beam>(module, "DoseBeam")
        .def(py::init([](const Vec3& source, const Vec3& x_axis, const Vec3& y_axis, const Vec3& axis,
                         double sad) { return dose::Beam{source, x_axis, y_axis, axis, sad}; }),
             py::kw_only(), py::arg("source"), py::arg("x_axis"), py::arg("y_axis"), py::arg("axis"),
             py::arg("sad"));

    module.def("beamlet_doses", &beamlet_doses, py::arg("patient"), py::arg("kernel"), py::arg("beam"),
               py::arg("xy"), py::arg("size"), py::arg("settings"), py::arg("progress") = py::none(),
               py::arg("threads") = 1);
    module.def("estimate_beamlets", &estimate, py::arg("patient"), py::arg("beam"), py::arg("xy"),
               py::arg("size"), py::arg("settings"));
    module.def("field_dose", &field_dose, py::arg("patient"), py::arg("kernel"), py::arg("beam"),
               py::arg("x_edges"), py::arg("y_edges"), py::arg("fluence"), py::arg("settings"),
               py::arg("progress") = py::none(), py::arg("threads") = 1);
}

} // namespace brimstone::bindings
