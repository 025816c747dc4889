#include "bindings/bindings.hpp"
#include "bindings/choice.hpp"
#include "brimstone/matrix/precision.hpp"
#include "brimstone/plan/term_specification.hpp"
#include "brimstone/search/search_settings.hpp"
#include "brimstone/terms/bin_settings.hpp"

namespace brimstone::bindings {

void bind_choices(py::module_& module) {
    bind_choice<Precision>(module, "Precision", "precision",
                           {{"fast", Precision::fast}, {"reference", Precision::reference}});
    bind_choice<KlDirection>(
        module, "KlDirection", "direction of the KL divergence",
        {{"target_calc", KlDirection::target_calculated}, {"calc_target", KlDirection::calculated_target}});
    bind_choice<TargetSmoothing>(
        module, "TargetSmoothing", "smoothing of the target",
        {{"half", TargetSmoothing::half}, {"calculated", TargetSmoothing::calculated}});
    bind_choice<SearchMethod>(
        module, "SearchMethod", "search",
        {{"conjugate_gradient", SearchMethod::conjugate_gradient}, {"lbfgs", SearchMethod::lbfgs}});
    bind_choice<LineSearchMethod>(
        module, "LineSearchMethod", "line search",
        {{"interpolated", LineSearchMethod::interpolated}, {"brent", LineSearchMethod::brent}});
    bind_choice<DoseLimit::Kind>(module, "DoseLimitKind", "kind of a dose limit",
                                 {{"maximum_dose", DoseLimit::Kind::maximum_dose},
                                  {"minimum_dose", DoseLimit::Kind::minimum_dose},
                                  {"mean_dose", DoseLimit::Kind::mean_dose}});
    bind_choice<Channel>(module, "Channel", "what a term looks at",
                         {{"dose", Channel::dose},
                          {"alpha_dose", Channel::alpha_dose},
                          {"sqrt_beta_dose", Channel::sqrt_beta_dose},
                          {"effect", Channel::effect},
                          {"rbe_dose", Channel::rbe_dose},
                          {"let_dose", Channel::let_dose},
                          {"let", Channel::let}});
    bind_choice<Stop>(module, "Stop", "reason to stop",
                      {{"converged", Stop::converged},
                       {"gradient_vanished", Stop::gradient_vanished},
                       {"iterations_exhausted", Stop::iterations_exhausted},
                       {"callback", Stop::callback}});
}

} // namespace brimstone::bindings
