// After a start: what is on record, what is in the kernel, and what is on disk are made to agree.
#pragma once

#include <set>

#include "node/boxes.h"

namespace hako::node {

/// Machines that an earlier run left.
struct Leftovers {
  std::vector<VmRecord> boxes;  ///< handed out, with a VMM that still runs: to be adopted
  std::set<int> slots;          ///< of those boxes
};

/// Ends what no box needs: VMMs of half-made or pooled machines, VMMs under our uids that no record
/// knows, and the files, sockets, namespaces and control groups of all of these. What it returns is
/// all that is left. Blocking. `keep_boxes` false ends the boxes too. Error, with nothing ended:
/// something could not be looked at. A box whose record is there and cannot be read just now is not
/// nobody's.
Result<Leftovers> sweep(const config::Config& config, bool keep_boxes);

}  // namespace hako::node
