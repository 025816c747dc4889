#pragma once

namespace brimstone {

/// In what numbers products with the dose matrix are summed. `fast` is single precision over a block's run
/// and double precision between them; `reference` is double precision throughout.
enum class Precision { fast, reference };

} // namespace brimstone
