#include <chrono>
#include <memory>
#include <optional>

#include <pybind11/stl.h>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "brimstone/plan/optimize.hpp"

namespace brimstone::bindings {

namespace {

/// Lets Python act on Ctrl-C while the core computes, without asking for its lock at every evaluation.
class SignalCheck {
public:
    void operator()() {
        constexpr std::chrono::milliseconds interval{50};
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < interval) {
            return;
        }
        last_ = now;
        const py::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) {
            throw py::error_already_set();
        }
    }

private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// What a callback may ask for while it is called. Nothing is copied before it is asked for.
class ProgressView {
public:
    explicit ProgressView(const LevelProgress& progress) : progress_(&progress) {}

    void expire() { progress_ = nullptr; }

    const LevelProgress& get() const {
        if (progress_ == nullptr) {
            throw std::runtime_error(
                "the state of an iteration can be asked for only until its callback returns");
        }
        return *progress_;
    }

private:
    const LevelProgress* progress_;
};

/// Python may keep a view; what it looks at is gone when its callback has returned or thrown.
class ViewExpiry {
public:
    explicit ViewExpiry(ProgressView& view) : view_(view) {}
    ViewExpiry(const ViewExpiry&) = delete;
    ViewExpiry& operator=(const ViewExpiry&) = delete;
    ~ViewExpiry() { view_.expire(); }

private:
    ProgressView& view_;
};

bool report(const py::function& callback, const LevelProgress& progress) {
    const py::gil_scoped_acquire acquire;
    const auto view = std::make_shared<ProgressView>(progress);
    const ViewExpiry expiry(*view);
    return callback(view).cast<bool>();
}

py::dict to_dict(const Archive& archive) {
    py::dict arrays;
    for (const auto& [name, array] : archive.arrays()) {
        arrays[py::str(name)] = to_array(array);
    }
    return arrays;
}

Archive to_archive(const py::dict& arrays) {
    Archive archive;
    for (const auto& [name, array] : arrays) {
        const auto key = name.cast<std::string>();
        archive.put(key, to_vector(array.cast<Array<double>>(), key.c_str()));
    }
    return archive;
}

MultilevelResult optimize_plan(MultilevelPlan& plan, const std::vector<LevelSettings>& levels,
                               LineSearchMethod line_search, const Array<double>& weights,
                               const py::function& on_iteration, const std::optional<py::dict>& checkpoint) {
    const auto search = make_line_search(line_search);
    if (levels.empty()) {
        throw std::invalid_argument("there must be at least one level");
    }
    std::vector<double> start = to_amounts(weights, plan.n_beamlets(0), "weights");
    std::optional<Archive> archive;
    if (checkpoint) {
        archive = to_archive(*checkpoint);
    }
    SignalCheck check;
    const py::gil_scoped_release release;
    return optimize(
        plan, levels, *search, std::move(start), archive ? &*archive : nullptr, [&] { check(); },
        [&](const LevelProgress& progress) { return report(on_iteration, progress); });
}

} // namespace

void bind_optimize(py::module_& module) {
    py::class_<ProgressView, std::shared_ptr<ProgressView>>(module, "Progress")
        .def_property_readonly("level", [](const ProgressView& view) { return view.get().level; })
        .def_property_readonly("grid", [](const ProgressView& view) { return view.get().grid; })
        .def_property_readonly("cost", [](const ProgressView& view) { return view.get().iteration.cost; })
        .def_property_readonly("gradient_norm",
                               [](const ProgressView& view) { return view.get().iteration.gradient_norm; })
        .def("weights", [](const ProgressView& view) { return to_array(view.get().objective.weight()); })
        .def("dose",
             [](const ProgressView& view) {
                 const DoseState& state = view.get().objective.state();
                 return py::array_t<double>(static_cast<py::ssize_t>(state.voxels()), state.dose());
             })
        .def("checkpoint", [](const ProgressView& view) { return to_dict(view.get().checkpoint()); });
    py::class_<SearchResult>(module, "LevelResult")
        .def_readonly("stop", &SearchResult::stop)
        .def_readonly("iterations", &SearchResult::iterations)
        .def_readonly("cost", &SearchResult::cost);
    py::class_<MultilevelResult>(module, "MultilevelResult")
        .def_property_readonly("weights",
                               [](const MultilevelResult& result) { return to_array(result.weights); })
        .def_readonly("levels", &MultilevelResult::levels);
    module.def("optimize", &optimize_plan, py::arg("plan"), py::arg("levels"), py::arg("line_search"),
               py::arg("weights"), py::arg("on_iteration"), py::arg("checkpoint") = py::none());
}

} // namespace brimstone::bindings
