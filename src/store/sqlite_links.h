// Inside src/store only: the table of links.
#pragma once

#include "store/links.h"
#include "store/sqlite.h"

namespace hako::store {

class SqliteLinks : public LinkStore {
 public:
  /// `database` must outlive this.
  explicit SqliteLinks(Database& database) : database_(database) {}

  Result<void> add_link(const LinkRecord& record) override;
  Result<std::optional<LinkRecord>> find_link(const std::string& id) override;
  Result<std::vector<LinkRecord>> all_links() override;
  Result<std::vector<LinkRecord>> list_links(const SandboxQuery& from) override;
  Result<std::vector<LinkRecord>> links_of(const std::string& sandbox) override;
  Result<bool> remove_link(const std::string& id) override;
  Result<void> remove_links_of(const std::string& sandbox) override;

 private:
  Database& database_;
};

}  // namespace hako::store
