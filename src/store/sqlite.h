// A thin, owning layer over SQLite's C interface.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace hako::store {

class Statement;

/// One connection. Errors of all calls: no_space (disk full), corrupted (damaged, or not a
/// database), unavailable (locked by another process for longer than the busy timeout),
/// already_exists (a unique column), permission_denied, internal. Ends the process where the kernel
/// keeps a lock that was not given back: only that frees it. Thread: one at a time. Blocking.
class Database {
 public:
  /// Opens or makes the file (mode 0600) with WAL, synchronous=NORMAL, foreign keys, and a busy
  /// timeout of 5 s, and checks it for damage. ":memory:" is a database of one's own.
  static Result<Database> open(const std::string& path);

  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  /// Runs statements without parameters or results.
  Result<void> execute(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);
  /// The rows changed by the last statement.
  int64_t changes() const;

 private:
  struct Close {
    void operator()(sqlite3* handle) const;
  };
  explicit Database(sqlite3* handle) : handle_(handle) {}
  std::unique_ptr<sqlite3, Close> handle_;
};

/// A prepared statement. Must go before its database. Parameters are numbered from 1, columns
/// from 0. Text is passed and taken with its length, so it may hold any byte.
class Statement {
 public:
  Statement(Statement&&) noexcept;
  Statement& operator=(Statement&&) noexcept;
  ~Statement();

  Statement& bind(int index, int64_t value);
  Statement& bind(int index, std::string_view value);
  Statement& bind_null(int index);

  /// Steps once: true if there is a row. Also reports what went wrong while binding.
  Result<bool> step();
  /// Steps to the end, ignoring rows.
  Result<void> run();
  /// Makes it ready for another run; parameters are cleared.
  void reset();

  int64_t integer(int column) const;
  std::string text(int column) const;
  bool is_null(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const;
  };
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}
  void note(int result);
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
  int bind_error_ = 0;
};

/// BEGIN IMMEDIATE now; rolls back at the end unless commit() succeeded.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database* database) : database_(database) {}
  Database* database_;
};

}  // namespace hako::store
