#include "brimstone/search/brent.hpp"

#include <cmath>

namespace brimstone {

namespace {

constexpr double golden_section = 0.3819660112501051; // (3 − √5) / 2
constexpr double golden_ratio = 1.618033988749895;
constexpr double smallest_step = 1e-12;

/// The trial point of a parabola through three points, as a step numerator/denominator from x.
struct Parabola {
    double numerator;
    double denominator;

    Parabola(double x, double fx, double w, double fw, double v, double fv) {
        const double r = (x - w) * (fx - fv);
        const double q = (x - v) * (fx - fw);
        numerator = (x - v) * q - (x - w) * r;
        denominator = 2.0 * (q - r);
        if (denominator > 0.0) {
            numerator = -numerator;
        }
        denominator = std::fabs(denominator);
    }
};

} // namespace

Minimum brent_minimum(const ScalarFunction& function, double low, double high, double tolerance,
                      int max_evaluations) {
    double x = low + golden_section * (high - low);
    double w = x;
    double v = x;
    double fx = function(x);
    double fw = fx;
    double fv = fx;
    double step = 0.0;
    double step_before_last = 0.0;
    int evaluations = 1;
    while (evaluations < max_evaluations) {
        const double middle = 0.5 * (low + high);
        const double precision = tolerance * std::fabs(x) + smallest_step;
        if (std::fabs(x - middle) <= 2.0 * precision - 0.5 * (high - low)) {
            break;
        }
        bool golden = true;
        if (std::fabs(step_before_last) > precision) {
            const Parabola parabola(x, fx, w, fw, v, fv);
            const double allowed = std::fabs(0.5 * parabola.denominator * step_before_last);
            if (std::fabs(parabola.numerator) < allowed &&
                parabola.numerator > parabola.denominator * (low - x) &&
                parabola.numerator < parabola.denominator * (high - x)) {
                step_before_last = step;
                step = parabola.numerator / parabola.denominator;
                const double trial = x + step;
                if (trial - low < 2.0 * precision || high - trial < 2.0 * precision) {
                    step = std::copysign(precision, middle - x);
                }
                golden = false;
            }
        }
        if (golden) {
            step_before_last = x < middle ? high - x : low - x;
            step = golden_section * step_before_last;
        }
        const double u = x + (std::fabs(step) >= precision ? step : std::copysign(precision, step));
        const double fu = function(u);
        ++evaluations;
        if (fu <= fx) {
            (u < x ? high : low) = x;
            v = w;
            fv = fw;
            w = x;
            fw = fx;
            x = u;
            fx = fu;
        } else {
            (u < x ? low : high) = u;
            if (fu <= fw || w == x) {
                v = w;
                fv = fw;
                w = u;
                fw = fu;
            } else if (fu <= fv || v == x || v == w) {
                v = u;
                fv = fu;
            }
        }
    }
    return {x, fx, evaluations};
}

Minimum brent_minimum_along(const ScalarFunction& function, double at_zero, double first_step,
                            double tolerance, int max_evaluations) {
    double before = 0.0;
    double here = 0.0;
    double best = at_zero;
    double next = first_step;
    double value = function(next);
    int evaluations = 1;
    while (value < best && evaluations < max_evaluations) {
        before = here;
        here = next;
        best = value;
        next += golden_ratio * (here - before);
        value = function(next);
        ++evaluations;
    }
    const Minimum inside = brent_minimum(function, before, next, tolerance, max_evaluations - evaluations);
    if (best < inside.value && here > 0.0) {
        return {here, best, evaluations + inside.evaluations};
    }
    return {inside.position, inside.value, evaluations + inside.evaluations};
}

} // namespace brimstone
