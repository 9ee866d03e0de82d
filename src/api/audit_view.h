// What of the audit log exists for whoever reads it. Pure.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <set>
#include <string>

#include "api/principal.h"
#include "audit/reader.h"

namespace hako::api {

/// A tenant's own records; of an agent, those of boxes and calls of the agent and those below; of a
/// token for some boxes, those about them. All of them for the operator, or those of one tenant.
/// Of a record above the reader's clearance only that there is one: when, by whom, what, and how it
/// went. Nobody finds such a record by what it does not show them.
class AuditView {
 public:
  /// `tenant`: the one whose records are asked for; empty: all, which only the operator may.
  AuditView(const Principal& who, std::string tenant);

  /// Whether a record that fits `query` is to be shown.
  bool admits(const audit::Found& record, const audit::Query& query) const;
  /// It as it is shown.
  boost::json::object shown(audit::Found record) const;

 private:
  bool is_withheld(const audit::Found& record) const;

  std::string tenant_;
  std::string agent_;
  std::optional<std::set<std::string>> sandboxes_;
  policy::Label clearance_;
};

}  // namespace hako::api
