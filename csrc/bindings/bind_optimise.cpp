#include <chrono>
#include <memory>

#include <pybind11/stl.h>

#include "bindings/arrays.hpp"
#include "bindings/bindings.hpp"
#include "brimstone/multilevel.hpp"

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

std::unique_ptr<LineSearch> make_line_search(const std::string& name) {
    if (name == "brent") {
        return std::make_unique<BrentLineSearch>();
    }
    if (name == "interpolated") {
        return std::make_unique<InterpolatedLineSearch>();
    }
    throw std::invalid_argument("line search '" + name + "' is unknown; it may be 'interpolated' or 'brent'");
}

const char* stop_name(Stop stop) {
    switch (stop) {
    case Stop::converged:
        return "converged";
    case Stop::gradient_vanished:
        return "gradient_vanished";
    case Stop::iterations_exhausted:
        return "iterations_exhausted";
    case Stop::callback:
        return "callback";
    }
    return "unknown";
}

std::vector<double> voxel_doses(const DoseState& state) {
    std::vector<double> dose(state.voxels());
    for (std::size_t j = 0; j < dose.size(); ++j) {
        dose[j] = state.dose(j);
    }
    return dose;
}

bool report(const py::function& callback, const LevelProgress& progress) {
    const Iteration& iteration = progress.iteration;
    const py::gil_scoped_acquire acquire;
    const py::object answer =
        callback(progress.level, progress.grid, iteration.number, iteration.cost, iteration.gradient_norm,
                 to_array(iteration.objective.weight()), to_array(voxel_doses(iteration.objective.state())));
    return answer.cast<bool>();
}

py::dict optimise_plan(const MultilevelPlan& plan, const std::vector<LevelSettings>& levels,
                       const std::string& line_search, const Array<double>& weights,
                       const py::function& on_iteration) {
    const auto search = make_line_search(line_search);
    std::vector<double> start = to_vector_of(weights, plan.grid(0).matrix->columns(), "weights");
    SignalCheck check;
    MultilevelResult result;
    {
        const py::gil_scoped_release release;
        result = optimise(
            plan, levels, *search, std::move(start), [&] { check(); },
            [&](const LevelProgress& progress) { return report(on_iteration, progress); });
    }
    py::list stops;
    for (const ConjugateGradientResult& level : result.levels) {
        stops.append(py::make_tuple(stop_name(level.stop), level.iterations, level.cost));
    }
    py::dict answer;
    answer["weights"] = to_array(result.weights);
    answer["cost"] = result.cost;
    answer["levels"] = stops;
    return answer;
}

} // namespace

void bind_optimise(py::module_& module) {
    module.def("optimise", &optimise_plan, py::arg("plan"), py::arg("levels"), py::arg("line_search"),
               py::arg("weights"), py::arg("on_iteration"));
}

} // namespace brimstone::bindings
