#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace brimstone {

/// The voxels of a structure on one grid, ascending, with the share of its volume that lies in each (they sum
/// to 1).
class VoxelShares {
public:
    VoxelShares(std::vector<std::uint32_t> voxels, std::vector<double> shares);

    const std::vector<std::uint32_t> voxel;
    const std::vector<double> share;

    /// Where the first voxel of at least this number is in the lists.
    std::size_t position(std::size_t first_voxel) const;

private:
    static constexpr std::size_t block = 1024;
    std::vector<std::uint32_t> block_position_; ///< position of every 1024th voxel number
};

/// Shares of a structure that all of its terms look at.
using SharedShares = std::shared_ptr<const VoxelShares>;

/// Dose d_j and wide dose (D(φ∘w))_j, the part of the dose that is binned with the wide kernel, of all
/// voxels of interest, in Gy.
class DoseState {
public:
    static constexpr std::size_t block = 1024;

    std::size_t voxels() const { return value_.size() / 2; }
    void resize(std::size_t voxels) { value_.resize(2 * voxels); }

    /// The doses of all voxels before the wide ones, as products with the dose matrix give them.
    double* data() { return value_.data(); }
    double* dose() { return value_.data(); }
    const double* dose() const { return value_.data(); }
    double* wide_dose() { return value_.data() + voxels(); }
    const double* wide_dose() const { return value_.data() + voxels(); }

    /// Takes note of the highest doses, of all voxels.
    void find_maximum(int threads);
    double maximum() const { return maximum_; }
    /// Of voxels [number · 1024, (number + 1) · 1024).
    double block_maximum(std::size_t number) const { return block_maximum_[number]; }

private:
    std::vector<double> value_;
    double maximum_ = 0.0;
    std::vector<double> block_maximum_;
};

/// Derivatives of the cost with respect to the doses and the wide doses of some consecutive voxels.
struct Residual {
    std::size_t first_voxel;
    double* dose;
    double* wide_dose;
};

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
        /// The cost, when all pieces have been collected; at the same time as other terms', unless it
        /// must be the caller's thread.
        virtual double finish(bool with_residual) = 0;
        virtual bool wants_callers_thread() const { return false; }
        /// Adds the derivatives of the cost for voxels [begin, end).
        virtual void add_residual(std::size_t begin, std::size_t end, const Residual& residual) const = 0;
    };

    Term() = default;
    Term(const Term&) = delete;
    Term& operator=(const Term&) = delete;
    virtual ~Term() = default;

    /// @param state  must outlive the evaluation
    virtual std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const = 0;
};

/// The sum of some terms at one dose, and its derivatives.
class TermSum {
public:
    /// @param state  must outlive the sum
    TermSum(const std::vector<const Term*>& terms, const DoseState& state, bool with_residual, int threads);

    double value() const { return value_; }

    /// Writes the derivatives for voxels from `residual.first_voxel` to below `end`; from any thread.
    void residual(const Residual& residual, std::size_t end) const;

private:
    std::vector<std::unique_ptr<Term::Evaluation>> evaluations_;
    double value_ = 0.0;
};

} // namespace brimstone
