#pragma once

#include <cstddef>
#include <memory>

#include "brimstone/terms/dose_state.hpp"

namespace brimstone {

/// Derivatives of the cost with respect to the doses and the wide doses of some consecutive voxels.
struct Residual {
    std::size_t first_voxel;
    double* dose;
    double* wide_dose;
    double scale = 1.0; ///< factor of what terms add
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
        /// Adds the derivatives of the cost for voxels [begin, end), times the residual's scale.
        virtual void add_residual(std::size_t begin, std::size_t end, const Residual& residual) const = 0;
    };

    Term() = default;
    Term(const Term&) = delete;
    Term& operator=(const Term&) = delete;
    virtual ~Term() = default;

    /// @param state  must outlive the evaluation
    virtual std::unique_ptr<Evaluation> begin(const DoseState& state, std::size_t n_pieces) const = 0;
};

} // namespace brimstone
