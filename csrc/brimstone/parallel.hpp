#pragma once

#include <cstddef>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace brimstone {

/// Number of threads to use when the caller names none.
inline int default_threads() {
#ifdef _OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}

/// Calls `body(i)` for every i in [0, count).
///
/// The work is always cut into the same pieces, whatever the number of threads, and no piece touches what
/// another one writes. Results are therefore bitwise the same for any number of threads. `body` must not
/// throw.
template <class Body>
void parallel_for(std::size_t count, [[maybe_unused]] int threads, Body&& body) {
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && count > 1)
#endif
    for (std::size_t i = 0; i < count; ++i) {
        body(i);
    }
}

/// Calls `body(piece, begin, end)` for consecutive pieces of at most `piece_size` of the range [0, count).
template <class Body>
void parallel_pieces(std::size_t count, std::size_t piece_size, int threads, Body&& body) {
    const std::size_t pieces = (count + piece_size - 1) / piece_size;
    parallel_for(pieces, threads, [&](std::size_t piece) {
        const std::size_t begin = piece * piece_size;
        const std::size_t end = begin + piece_size < count ? begin + piece_size : count;
        body(piece, begin, end);
    });
}

} // namespace brimstone
