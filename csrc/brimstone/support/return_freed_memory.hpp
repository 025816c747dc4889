#pragma once

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace brimstone {

/// Gives freed memory back to the system. The C library keeps some for later, and after a large matrix was
/// built that is a third of its size.
inline void return_freed_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

} // namespace brimstone
