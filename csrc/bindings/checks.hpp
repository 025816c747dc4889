#pragma once

#include <cmath>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace brimstone::bindings {

/// Ends a call from Python with a number that is out of its range.
[[noreturn]] inline void refuse(const std::string& name, double value, const std::string& range) {
    std::ostringstream message;
    message << name << " is " << value << "; it must be " << range;
    throw std::invalid_argument(message.str());
}

inline double finite(double value, const char* name) {
    if (!std::isfinite(value)) {
        refuse(name, value, "finite");
    }
    return value;
}

inline double at_least(double low, double value, const char* name) {
    if (!(std::isfinite(value) && value >= low)) {
        std::ostringstream range;
        range << "finite and at least " << low;
        refuse(name, value, range.str());
    }
    return value;
}

inline double positive(double value, const char* name) {
    if (!(std::isfinite(value) && value > 0.0)) {
        refuse(name, value, "finite and above 0");
    }
    return value;
}

inline double share(double value, const char* name) {
    if (!(value >= 0.0 && value <= 1.0)) {
        refuse(name, value, "from 0 to 1");
    }
    return value;
}

inline int thread_count(int threads) {
    if (threads < 1) {
        refuse("threads", threads, "at least 1");
    }
    return threads;
}

/// Whether each number is in the range that `good` accepts.
template <class Good>
void check_each(const std::vector<double>& values, const char* name, const Good& good, const char* range) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!good(values[i])) {
            refuse(std::string(name) + "[" + std::to_string(i) + "]", values[i], range);
        }
    }
}

} // namespace brimstone::bindings
