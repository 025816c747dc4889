#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace brimstone {

/// The voxels of a structure on one grid, ascending, with the share of its volume that lies in each (they sum
/// to 1).
struct VoxelShares {
    std::vector<std::uint32_t> voxel;
    std::vector<double> share;

    /// Where the first voxel of at least this number is in the lists.
    std::size_t position(std::size_t first_voxel) const {
        return static_cast<std::size_t>(std::lower_bound(voxel.begin(), voxel.end(), first_voxel) -
                                        voxel.begin());
    }
};

/// Two numbers for every voxel, the first ones of all before the second ones, as products with the dose
/// matrix give and take them.
class VoxelPairs {
public:
    explicit VoxelPairs(std::size_t voxels = 0) : value_(2 * voxels, 0.0) {}

    std::size_t voxels() const { return value_.size() / 2; }
    void resize(std::size_t voxels) { value_.resize(2 * voxels); }

    double* data() { return value_.data(); }
    const double* data() const { return value_.data(); }
    double* dose() { return value_.data(); }
    const double* dose() const { return value_.data(); }
    double* wide_dose() { return value_.data() + voxels(); }
    const double* wide_dose() const { return value_.data() + voxels(); }

private:
    std::vector<double> value_;
};

/// Dose d_j and wide dose (D(φ∘w))_j, the part of the dose that is binned with the wide kernel, of all voxels
/// of interest, in Gy.
struct DoseState : VoxelPairs {
    static constexpr std::size_t block = 1024;

    double maximum = 0.0;
    std::vector<double> block_maximum; ///< of each 1024 voxels

    /// Takes note of the highest doses, of all voxels.
    void find_maximum(int threads);
};

/// Derivatives of the cost with respect to the doses and the wide doses.
using Residual = VoxelPairs;

/// Consecutive voxels that one thread works on. There are the same pieces for any number of threads.
struct Piece {
    std::size_t number;
    std::size_t begin;
    std::size_t end;
};

/// One summand of the cost, a function of the dose in one structure.
class Term {
public:
    /// The term at one dose, computed piece by piece, so that all terms can be computed together.
    class Evaluation {
    public:
        Evaluation() = default;
        Evaluation(const Evaluation&) = delete;
        Evaluation& operator=(const Evaluation&) = delete;
        virtual ~Evaluation() = default;

        /// Looks at the doses of a piece; each piece once, in any order and at the same time.
        virtual void collect(const Piece& piece) = 0;
        /// The cost, when all pieces have been collected; at the same time as other terms', unless it must be
        /// the caller's thread.
        virtual double finish(bool with_residual) = 0;
        virtual bool wants_callers_thread() const { return false; }
        /// Adds the derivatives of the cost that lie in a piece.
        virtual void add_residual(const Piece& piece, Residual& residual) const = 0;
    };

    Term() = default;
    Term(const Term&) = delete;
    Term& operator=(const Term&) = delete;
    virtual ~Term() = default;

    /// @param state  must outlive the evaluation
    virtual std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const = 0;
};

/// The sum of some terms at one dose.
/// @param residual  gets their derivatives, if it is not null
double evaluate(const std::vector<const Term*>& terms, const DoseState& state, Residual* residual,
                int threads);

} // namespace brimstone
