#include "store/sqlite_links.h"

#include "store/sandbox_filter.h"
#include "store/sqlite_rows.h"

namespace hako::store {
namespace {

constexpr std::string_view kLinkColumns = "id, from_box, to_box, port, name, created_ms";

LinkRecord read_link(const Statement& row) {
  return {.id = row.text(0),
          .from = row.text(1),
          .to = row.text(2),
          .port = int(row.integer(3)),
          .name = row.text(4),
          .created_ms = row.integer(5)};
}

std::string select_links(std::string_view where) {
  return select(kLinkColumns, "links", where) + " ORDER BY created_ms, id";
}

}  // namespace

Result<void> SqliteLinks::add_link(const LinkRecord& record) {
  // Nothing is inserted where a sandbox is missing: the reason can then be told from other faults.
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO links (" + std::string(kLinkColumns) +
                             ") SELECT ?, ?, ?, ?, ?, ? WHERE"
                             " (SELECT count(*) FROM sandboxes WHERE id IN (?, ?)) = 2"));
  statement.bind(1, record.id)
      .bind(2, record.from)
      .bind(3, record.to)
      .bind(4, int64_t(record.port))
      .bind(5, record.name)
      .bind(6, record.created_ms)
      .bind(7, record.from)
      .bind(8, record.to);
  HAKO_TRYV(statement.run());
  if (database_.changes() == 1) return ok();
  return Error(ErrorCode::not_found, "sandbox " + record.from + " or " + record.to + " not found");
}

Result<std::optional<LinkRecord>> SqliteLinks::find_link(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare(select_links("WHERE id = ?")));
  statement.bind(1, id);
  return read_row(statement, read_link);
}

Result<std::vector<LinkRecord>> SqliteLinks::all_links() {
  HAKO_TRY(auto statement, database_.prepare(select_links("")));
  return read_rows(statement, read_link);
}

Result<std::vector<LinkRecord>> SqliteLinks::list_links(const SandboxQuery& from) {
  SandboxFilter filter = filter_of(from);
  HAKO_TRY(auto statement,
           database_.prepare(select_links("WHERE from_box IN (SELECT id FROM sandboxes" +
                                          filter.where + ")")));
  filter.bind_to(statement);
  return read_rows(statement, read_link);
}

Result<std::vector<LinkRecord>> SqliteLinks::links_of(const std::string& sandbox) {
  HAKO_TRY(auto statement,
           database_.prepare(select_links("WHERE from_box = ? OR to_box = ?")));
  statement.bind(1, sandbox).bind(2, sandbox);
  return read_rows(statement, read_link);
}

Result<bool> SqliteLinks::remove_link(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM links WHERE id = ?"));
  HAKO_TRYV(statement.bind(1, id).run());
  return database_.changes() == 1;
}

Result<void> SqliteLinks::remove_links_of(const std::string& sandbox) {
  HAKO_TRY(auto statement,
           database_.prepare("DELETE FROM links WHERE from_box = ? OR to_box = ?"));
  return statement.bind(1, sandbox).bind(2, sandbox).run();
}

}  // namespace hako::store
