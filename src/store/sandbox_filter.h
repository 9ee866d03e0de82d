// Inside src/store only: which sandboxes a query means, as SQL.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "store/sqlite_rows.h"
#include "store/store.h"

namespace hako::store {

/// The WHERE clause of a query and the values for its parameters, in order.
struct SandboxFilter {
  std::string where = " WHERE true";
  std::vector<std::variant<int64_t, std::string>> values;

  void add(const std::string& condition,
           std::initializer_list<std::variant<int64_t, std::string>> with) {
    where += " AND " + condition;
    values.insert(values.end(), with);
  }
  void add_one_of(const std::string& column, const std::vector<std::string>& wanted) {
    where += " AND " + column + " IN (" + places(wanted.size()) + ")";
    values.insert(values.end(), wanted.begin(), wanted.end());
  }
  int bind_to(Statement& statement) const {
    int index = 0;
    for (const auto& value : values) {
      std::visit([&](const auto& v) { statement.bind(++index, v); }, value);
    }
    return index;
  }
};

/// All of the query but its order, limit and position; for the columns of the table `sandboxes`.
SandboxFilter filter_of(const SandboxQuery& query);

}  // namespace hako::store
