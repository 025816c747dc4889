#include <cstring>
#include <initializer_list>

#include "brimstone/support/kernels/kernels.hpp"
#include "dose/kernels/kernels.hpp"

namespace brimstone::dose {

extern const Kernels portable_kernels;
#ifdef BRIMSTONE_X86
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

const Kernels& kernels() {
#ifdef BRIMSTONE_X86
    const char* const chosen = brimstone::kernels().name;
    for (const Kernels* const version : {&avx512_kernels, &avx2_kernels}) {
        if (std::strcmp(version->name, chosen) == 0) {
            return *version;
        }
    }
#endif
    return portable_kernels;
}

} // namespace brimstone::dose
