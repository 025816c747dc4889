#pragma once

#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/bindings.hpp"

namespace brimstone::bindings {

/// Binds an enum whose members Python may also construct from their names, as in `Precision("fast")`.
/// @param what  how an error calls the option; it lists the names
template <class Enum>
void bind_choice(py::module_& module, const char* type, const std::string& what,
                 std::initializer_list<std::pair<const char*, Enum>> members) {
    py::enum_<Enum> choice(module, type);
    std::map<std::string, Enum> known;
    std::string names;
    for (const auto& [name, member] : members) {
        choice.value(name, member);
        known.emplace(name, member);
        names += (names.empty() ? "'" : ", '") + std::string(name) + "'";
    }
    choice.def(py::init([=](const std::string& name) {
                   const auto found = known.find(name);
                   if (found == known.end()) {
                       throw std::invalid_argument(what + " '" + name + "' is unknown; it must be one of " +
                                                   names);
                   }
                   return found->second;
               }),
               py::arg("name"));
}

} // namespace brimstone::bindings
