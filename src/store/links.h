// What the API remembers of links: ports of one sandbox that another may reach.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hako::store {

struct SandboxQuery;

/// Goes when either of its sandboxes does. Times are Unix milliseconds.
struct LinkRecord {
  std::string id;
  std::string from;  ///< the sandbox that may connect
  std::string to;    ///< the one that is connected to
  int port = 0;      ///< of `to`
  std::string name;  ///< what `from` calls it; one link of that name for each `from`
  int64_t created_ms = 0;

  bool operator==(const LinkRecord&) const = default;
};

/// The rules of Store (store.h) hold. Lists are in the order in which the links were made.
class LinkStore {
 public:
  virtual ~LinkStore() = default;

  /// already_exists if `from` has one of that name; not_found if either sandbox has gone.
  virtual Result<void> add_link(const LinkRecord& record) = 0;
  virtual Result<std::optional<LinkRecord>> find_link(const std::string& id) = 0;
  virtual Result<std::vector<LinkRecord>> all_links() = 0;
  /// Those from the sandboxes that `from` would list without its limit and position.
  virtual Result<std::vector<LinkRecord>> list_links(const SandboxQuery& from) = 0;
  /// Those from it, and those to it.
  virtual Result<std::vector<LinkRecord>> links_of(const std::string& sandbox) = 0;
  /// Whether there was one.
  virtual Result<bool> remove_link(const std::string& id) = 0;
  virtual Result<void> remove_links_of(const std::string& sandbox) = 0;
};

}  // namespace hako::store
