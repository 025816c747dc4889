#pragma once

#include <cstddef>
#include <functional>

namespace brimstone {

/// Number of threads to use when the caller names none: the processors this process may run on.
int default_threads();

/// Calls `body(i)` for every i in [0, count), on up to `threads` threads, and returns when all are done.
///
/// The work is always cut into the same pieces, whatever the number of threads, and no piece may touch what
/// another one writes. Results are therefore bitwise the same for any number of threads. The first exception
/// of a piece is thrown again here.
///
/// The calling thread works too and waits only for pieces that another thread has begun, never for a thread
/// to wake up: on a busy machine this is no slower than one thread alone, where a barrier would wait for each
/// of them.
void parallel_for(std::size_t count, int threads, const std::function<void(std::size_t)>& body);

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
