#pragma once

#include <vector>

#include "dose/patient.hpp"
#include "dose/row_layout.hpp"

namespace brimstone::dose {

/// Voxels of a row that get dose, and those between them.
struct VoxelRow {
    int row[2];
    int begin;
    int end;
};

/// All of them, in pieces of at most `longest` lanes.
std::vector<VoxelRow> wanted_rows(const Patient& patient, const RowLayout& layout, int longest);

} // namespace brimstone::dose
