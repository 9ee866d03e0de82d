// Looking into a log: pages of records that answer a question. Blocking.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hako::audit {

/// One record as it stands in the log, with "seq" and "prev", and with its own "hash". What the log
/// says of itself has, beside "audit", an "action" ("audit.head", ...) and an "outcome", so that it
/// reads like the others.
using Found = boost::json::object;

struct Query {
  /// Records with these values; empty: any.
  std::string tenant, sandbox, actor, outcome;
  std::string action;            ///< how it begins: "sandbox." is all that was done with sandboxes
  std::string text;              ///< stands anywhere in the record
  std::string without_action;    ///< none with this action
  int64_t since_ms = 0;          ///< when it happened, not before
  int64_t until_ms = INT64_MAX;  ///< ... and not from then on
  /// The place to begin at: behind this sequence, or, backwards, before it (0: at the end).
  int64_t from = 0;
  bool backward = false;
  size_t limit = 100;
  /// What whoever asks may see.
  std::function<bool(const Found&)> admits;
};

struct Page {
  std::vector<Found> records;  ///< in the order they were read in
  int64_t next = 0;            ///< where the next page begins: `from` for it
  bool more = false;           ///< there is more to be read, though perhaps nothing that fits
};

/// Reads in `directory`, while it is written to, too. Where it begins is looked up and not read up
/// to. At most kMostRead bytes are looked through, so that a page may hold less than there is, or
/// nothing: `more` says so. Errors: those of files.
Result<Page> read_page(const std::string& directory, const Query& query);
inline constexpr int64_t kMostRead = 64 << 20;

}  // namespace hako::audit
