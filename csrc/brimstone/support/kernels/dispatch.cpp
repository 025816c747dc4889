#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>

#include "brimstone/support/kernels/kernels.hpp"

namespace brimstone {

extern const Kernels portable_kernels;
#ifdef BRIMSTONE_X86
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

namespace {

/// The versions that this processor can run, widest first.
struct Available {
    static constexpr std::size_t most = 3;
    const Kernels* version[most] = {};
    const char* name[most + 1] = {};
    std::size_t count = 0;

    Available() {
#ifdef BRIMSTONE_X86
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
            add(avx512_kernels);
        }
        if (__builtin_cpu_supports("avx2")) {
            add(avx2_kernels);
        }
#endif
        add(portable_kernels);
    }

    void add(const Kernels& kernels) {
        version[count] = &kernels;
        name[count++] = kernels.name;
    }
};

const Available& available() {
    static const Available versions;
    return versions;
}

std::atomic<const Kernels*>& in_use() {
    static std::atomic<const Kernels*> kernels{available().version[0]};
    return kernels;
}

} // namespace

const Kernels& kernels() {
    return *in_use().load(std::memory_order_relaxed);
}

const char* const* available_kernels() {
    return available().name;
}

void use_kernels(const char* name) {
    std::string names;
    for (std::size_t i = 0; i < available().count; ++i) {
        if (std::strcmp(name, available().name[i]) == 0) {
            in_use() = available().version[i];
            return;
        }
        names += std::string(names.empty() ? "" : ", ") + available().name[i];
    }
    throw std::invalid_argument("vector path '" + std::string(name) +
                                "' is not one of this processor's: " + names);
}

} // namespace brimstone
