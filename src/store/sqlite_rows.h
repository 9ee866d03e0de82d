// Inside src/store only: what the tables' code has in common.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/sqlite.h"

namespace hako::store {

/// "?, ?, ?" for `count` values.
inline std::string places(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += i == 0 ? "?" : ", ?";
  return text;
}

/// "SELECT <columns> FROM <table> <rest>".
inline std::string select(std::string_view columns, std::string_view table,
                          std::string_view rest = {}) {
  std::string text = "SELECT ";
  text.append(columns).append(" FROM ").append(table).append(" ").append(rest);
  return text;
}

/// The rows that are left, each made a record by `read`.
template <class Read>
auto read_rows(Statement& statement, Read read)
    -> Result<std::vector<decltype(read(std::as_const(statement)))>> {
  std::vector<decltype(read(std::as_const(statement)))> records;
  for (;;) {
    HAKO_TRY(bool row, statement.step());
    if (!row) return records;
    records.push_back(read(std::as_const(statement)));
  }
}

/// The next row, if there is one.
template <class Read>
auto read_row(Statement& statement, Read read)
    -> Result<std::optional<decltype(read(std::as_const(statement)))>> {
  std::optional<decltype(read(std::as_const(statement)))> record;
  HAKO_TRY(bool row, statement.step());
  if (row) record = read(std::as_const(statement));
  return record;
}

/// not_found unless the last statement changed a row: "sandbox i1 not found".
inline Result<void> changed_one(const Database& database, std::string_view kind,
                                const std::string& id) {
  if (database.changes() == 1) return ok();
  return Error(ErrorCode::not_found, std::string(kind) + " " + id + " not found");
}

}  // namespace hako::store
