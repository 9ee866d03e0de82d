#include "store/sqlite_templates.h"

#include <algorithm>
#include <array>

#include "store/sqlite_rows.h"

namespace hako::store {
namespace {

constexpr std::string_view kTemplateColumns =
    "id, name, public, created_ms, updated_ms, key_id, label, tenant, agent";
constexpr std::string_view kBuildColumns =
    "id, template_id, state, image, vcpus, memory_mib, disk_mib, created_ms, finished_ms, tags,"
    " reason, step, log";
constexpr std::array kStates = {BuildState::waiting, BuildState::building, BuildState::ready,
                                BuildState::error};

TemplateRecord read_template(const Statement& row) {
  return {.id = row.text(0),
          .name = row.text(1),
          .is_public = row.integer(2) != 0,
          .created_ms = row.integer(3),
          .updated_ms = row.integer(4),
          .key_id = row.text(5),
          .label = row.text(6),
          .tenant = row.text(7),
          .agent = row.text(8)};
}

/// Tags have no spaces; see api/template_names.h.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find(' ', start), text.size());
    if (end > start) words.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return words;
}

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

BuildRecord read_build(const Statement& row) {
  BuildRecord record;
  record.id = row.text(0);
  record.template_id = row.text(1);
  std::string state = row.text(2);
  for (BuildState each : kStates)
    if (to_string(each) == state) record.state = each;
  record.is_image = row.integer(3) != 0;
  record.vcpus = int(row.integer(4));
  record.memory_mib = int(row.integer(5));
  record.disk_mib = int(row.integer(6));
  record.created_ms = row.integer(7);
  record.finished_ms = row.integer(8);
  record.tags = split(row.text(9));
  record.reason = row.text(10);
  record.step = row.text(11);
  record.log = row.text(12);
  return record;
}

TagRecord read_tag(const Statement& row) {
  return {row.text(0), row.text(1), row.integer(2)};
}

}  // namespace

std::string_view to_string(BuildState state) {
  switch (state) {
    case BuildState::waiting:
      return "waiting";
    case BuildState::building:
      return "building";
    case BuildState::ready:
      return "ready";
    case BuildState::error:
      return "error";
  }
  return "error";
}

Result<std::vector<TemplateRecord>> SqliteTemplates::all_templates() {
  HAKO_TRY(auto statement,
           database_.prepare(select(kTemplateColumns, "templates", "ORDER BY name, tenant")));
  return read_rows(statement, read_template);
}

Result<std::optional<TemplateRecord>> SqliteTemplates::find_template(
    const std::string& tenant, const std::string& id_or_name) {
  // Where one's name is another's id, the id counts; but never that of another tenant, which could
  // be probed with names otherwise.
  HAKO_TRY(auto statement,
           database_.prepare(select(kTemplateColumns, "templates",
                                    "WHERE id = ?1 OR (tenant = ?2 AND name = ?1)"
                                    " ORDER BY tenant = ?2 DESC, id = ?1 DESC")));
  statement.bind(1, id_or_name).bind(2, tenant);
  return read_row(statement, read_template);
}

Result<void> SqliteTemplates::put_template(const TemplateRecord& record) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO templates (" + std::string(kTemplateColumns) +
                             ") SELECT " + places(9) +
                             " WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?)"
                             " ON CONFLICT (id) DO UPDATE SET name = excluded.name,"
                             " public = excluded.public, updated_ms = excluded.updated_ms,"
                             " label = excluded.label"));
  statement.bind(1, record.id)
      .bind(2, record.name)
      .bind(3, int64_t(record.is_public))
      .bind(4, record.created_ms)
      .bind(5, record.updated_ms)
      .bind(6, record.key_id)
      .bind(7, record.label)
      .bind(8, record.tenant)
      .bind(9, record.agent)
      .bind(10, record.tenant);
  HAKO_TRYV(statement.run());
  return changed_one(database_, "tenant", record.tenant);
}

Result<bool> SqliteTemplates::remove_template(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM templates WHERE id = ?"));
  HAKO_TRYV(statement.bind(1, id).run());
  return database_.changes() == 1;
}

Result<void> SqliteTemplates::put_build(const BuildRecord& record) {
  HAKO_TRY(auto statement, database_.prepare("INSERT OR REPLACE INTO template_builds (" +
                                             std::string(kBuildColumns) +
                                             ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
  statement.bind(1, record.id)
      .bind(2, record.template_id)
      .bind(3, to_string(record.state))
      .bind(4, int64_t(record.is_image))
      .bind(5, int64_t(record.vcpus))
      .bind(6, int64_t(record.memory_mib))
      .bind(7, int64_t(record.disk_mib))
      .bind(8, record.created_ms)
      .bind(9, record.finished_ms)
      .bind(10, join(record.tags))
      .bind(11, record.reason)
      .bind(12, record.step)
      .bind(13, record.log);
  return statement.run();
}

Result<std::optional<BuildRecord>> SqliteTemplates::find_build(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare("SELECT " + std::string(kBuildColumns) +
                                             " FROM template_builds WHERE id = ?"));
  statement.bind(1, id);
  return read_row(statement, read_build);
}

Result<std::vector<BuildRecord>> SqliteTemplates::builds_of(const std::string& template_id) {
  // Without the logs, which are large, and which no list shows.
  std::string columns(kBuildColumns);
  columns.replace(columns.rfind("log"), 3, "''");
  HAKO_TRY(auto statement, database_.prepare("SELECT " + columns +
                                             " FROM template_builds WHERE template_id = ?"
                                             " ORDER BY created_ms DESC, id"));
  statement.bind(1, template_id);
  return read_rows(statement, read_build);
}

Result<void> SqliteTemplates::fail_unfinished_builds(const std::string& reason) {
  HAKO_TRY(auto statement,
           database_.prepare("UPDATE template_builds SET state = 'error', reason = ?"
                             " WHERE state IN ('waiting', 'building')"));
  return statement.bind(1, reason).run();
}

Result<std::vector<TagRecord>> SqliteTemplates::tags_of(const std::string& template_id) {
  HAKO_TRY(auto statement,
           database_.prepare("SELECT tag, build_id, created_ms FROM template_tags"
                             " WHERE template_id = ? ORDER BY created_ms DESC, tag"));
  statement.bind(1, template_id);
  return read_rows(statement, read_tag);
}

Result<void> SqliteTemplates::set_tags(const std::string& template_id, const std::string& build_id,
                                       const std::vector<std::string>& tags, int64_t now_ms) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  for (const std::string& tag : tags) {
    HAKO_TRY(auto statement, database_.prepare("INSERT OR REPLACE INTO template_tags"
                                               " (template_id, tag, build_id, created_ms)"
                                               " VALUES (?, ?, ?, ?)"));
    statement.bind(1, template_id).bind(2, tag).bind(3, build_id).bind(4, now_ms);
    HAKO_TRYV(statement.run());
  }
  return transaction.commit();
}

Result<void> SqliteTemplates::remove_tags(const std::string& template_id,
                                          const std::vector<std::string>& tags) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  for (const std::string& tag : tags) {
    HAKO_TRY(auto statement, database_.prepare("DELETE FROM template_tags"
                                               " WHERE template_id = ? AND tag = ?"));
    HAKO_TRYV(statement.bind(1, template_id).bind(2, tag).run());
  }
  return transaction.commit();
}

}  // namespace hako::store
