// Inside src/store only: the templates' tables.
#pragma once

#include "store/sqlite.h"
#include "store/templates.h"

namespace hako::store {

class SqliteTemplates : public TemplateStore {
 public:
  /// `database` must outlive this.
  explicit SqliteTemplates(Database& database) : database_(database) {}

  Result<std::vector<TemplateRecord>> all_templates() override;
  Result<std::optional<TemplateRecord>> find_template(const std::string& tenant,
                                                      const std::string& id_or_name) override;
  Result<void> put_template(const TemplateRecord& record) override;
  Result<bool> remove_template(const std::string& id) override;
  Result<void> put_build(const BuildRecord& record) override;
  Result<std::optional<BuildRecord>> find_build(const std::string& id) override;
  Result<std::vector<BuildRecord>> builds_of(const std::string& template_id) override;
  Result<void> fail_unfinished_builds(const std::string& reason) override;
  Result<std::vector<TagRecord>> tags_of(const std::string& template_id) override;
  Result<void> set_tags(const std::string& template_id, const std::string& build_id,
                        const std::vector<std::string>& tags, int64_t now_ms) override;
  Result<void> remove_tags(const std::string& template_id,
                           const std::vector<std::string>& tags) override;

 private:
  Database& database_;
};

}  // namespace hako::store
