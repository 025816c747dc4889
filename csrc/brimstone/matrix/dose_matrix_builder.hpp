#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "brimstone/matrix/dose_matrix.hpp"

namespace brimstone {

/// Puts a dose matrix together in two passes over its columns: the first one counts, the second one fills.
class DoseMatrix::Builder {
public:
    Builder(DoseMatrix& matrix, const ColumnSource& source, int threads);

    void build();

private:
    /// The tiles that a pair of columns reaches, ascending, and the number of its entries in each.
    struct PairTiles {
        std::vector<std::uint32_t> tile;
        std::vector<std::uint8_t> entries;
    };
    /// What a thread needs at hand while it works on pairs of columns.
    struct Desk;

    std::size_t n_pairs() const { return pairs_.size(); }
    template <class Work>
    void for_each_pair(const Work& work) const;
    void read_pair(std::size_t pair, Desk& desk) const;
    void count(std::size_t pair, Desk& desk);
    void choose_fewest_entries();
    void lay_out_runs();
    void index_pairs();
    void fill(std::size_t pair, Desk& desk);

    DoseMatrix& matrix_;
    const ColumnSource& source_;
    int threads_;
    std::vector<PairTiles> pairs_;
    std::size_t fewest_entries_ = 1; ///< tiles with fewer are stored entry by entry
};

} // namespace brimstone
