#pragma once

#include <cstddef>

#include "brimstone/search/parameter_settings.hpp"
#include "brimstone/search/search_settings.hpp"
#include "brimstone/terms/bin_settings.hpp"

namespace brimstone {

struct LevelSettings {
    std::size_t grid; ///< 0 is the finest
    BinSettings bins;
    ParameterSettings parameters;
    SearchSettings search;
};

} // namespace brimstone
