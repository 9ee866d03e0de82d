#include "store/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/fd.h"
#include "base/log.h"

namespace hako::store {
namespace {

constexpr int kBusyTimeoutMs = 5000;

ErrorCode code_of(int extended, int os_error) {
  if (extended == SQLITE_CONSTRAINT_PRIMARYKEY || extended == SQLITE_CONSTRAINT_UNIQUE) {
    return ErrorCode::already_exists;
  }
  switch (extended & 0xff) {
    case SQLITE_FULL:
      return ErrorCode::no_space;
    case SQLITE_IOERR:
      // Growing the shared-memory index or the log reports a full disk as an I/O error.
      return os_error == ENOSPC || os_error == EDQUOT ? ErrorCode::no_space : ErrorCode::internal;
    case SQLITE_CANTOPEN:
      if (os_error == ENOSPC || os_error == EDQUOT) return ErrorCode::no_space;
      return os_error == ENOENT ? ErrorCode::not_found : ErrorCode::permission_denied;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::corrupted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::unavailable;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return ErrorCode::permission_denied;
    case SQLITE_TOOBIG:
      return ErrorCode::too_large;
    case SQLITE_NOMEM:
      return ErrorCode::resource_exhausted;
    case SQLITE_CONSTRAINT:
      return ErrorCode::failed_precondition;
    default:
      return ErrorCode::internal;
  }
}

/// An unlock has failed in the kernel: it holds a lock for this process that SQLite has forgotten,
/// and every call would fail, after seconds, for good. The lock goes with the process, which
/// whoever supervises it starts again; nothing is half written, as after a kill.
[[noreturn]] void end_for_lost_lock() {
  log_error("database_lock_lost", {{"error", "a lock was not given back; ending"}});
  ::_exit(1);
}

Error last_error(sqlite3* handle, int result) {
  if (!handle) return Error(ErrorCode::resource_exhausted, "database: out of memory");
  int extended = sqlite3_extended_errcode(handle);
  if ((extended & 0xff) == SQLITE_OK) extended = result;
  if ((extended & 0xff) == SQLITE_PROTOCOL) end_for_lost_lock();
  return Error(code_of(extended, sqlite3_system_errno(handle)),
               std::string("database: ") + sqlite3_errmsg(handle));
}

/// One short text from "PRAGMA quick_check": "ok", or the first thing that is wrong.
Result<std::string> quick_check(Database& database) {
  HAKO_TRY(auto check, database.prepare("PRAGMA quick_check(1)"));
  HAKO_TRY(bool row, check.step());
  return row ? check.text(0) : std::string("no answer");
}

Result<void> set_up(Database& database) {
  // The first statement that reads the file; it is where "not a database" shows.
  HAKO_TRYV(database.execute("PRAGMA journal_mode=WAL"));
  HAKO_TRYV(database.execute("PRAGMA synchronous=NORMAL"));
  HAKO_TRYV(database.execute("PRAGMA foreign_keys=ON"));
  HAKO_TRYV(database.execute("PRAGMA trusted_schema=OFF"));
  // The api sees no folder for temporary files.
  HAKO_TRYV(database.execute("PRAGMA temp_store=MEMORY"));
  HAKO_TRY(auto health, quick_check(database));
  if (health != "ok") return Error(ErrorCode::corrupted, "database: " + health);
  return ok();
}

}  // namespace

void Database::Close::operator()(sqlite3* handle) const {
  sqlite3_close_v2(handle);
}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::string& path) {
  if (path != ":memory:") {
    // Made here and not by SQLite, so that nobody else can read it whatever the umask is. The log
    // and the index beside it take over its mode.
    HAKO_TRYV(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  }
  sqlite3* raw = nullptr;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW |
              SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE;
  int result = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Database database(raw);
  if (result != SQLITE_OK) return last_error(raw, result).with_context("open " + path);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  if (auto ready = set_up(database); !ready) {
    Error error = ready.error().with_context(path);
    if (error.code() != ErrorCode::corrupted) return error;
    return Error(ErrorCode::corrupted,
                 error.message() +
                     ". The file is damaged or not a database; restore it from a backup, or move "
                     "it (and the files ending in -wal and -shm) away to start with an empty one");
  }
  return database;
}

Result<void> Database::execute(const std::string& sql) {
  int result = sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return last_error(handle_.get(), result);
  return ok();
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  int result = sqlite3_prepare_v2(handle_.get(), sql.data(), int(sql.size()), &raw, nullptr);
  if (result != SQLITE_OK) return last_error(handle_.get(), result);
  return Statement(raw);
}

int64_t Database::changes() const {
  return sqlite3_changes64(handle_.get());
}

void Statement::Finalize::operator()(sqlite3_stmt* handle) const {
  sqlite3_finalize(handle);
}
Statement::Statement(Statement&&) noexcept = default;
Statement& Statement::operator=(Statement&&) noexcept = default;
Statement::~Statement() = default;

void Statement::note(int result) {
  if (result != SQLITE_OK && bind_error_ == 0) bind_error_ = result;
}

Statement& Statement::bind(int index, int64_t value) {
  note(sqlite3_bind_int64(handle_.get(), index, value));
  return *this;
}

Statement& Statement::bind(int index, std::string_view value) {
  // A null pointer would bind NULL in place of the empty text.
  const char* data = value.data() ? value.data() : "";
  note(
      sqlite3_bind_text64(handle_.get(), index, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind_null(int index) {
  note(sqlite3_bind_null(handle_.get(), index));
  return *this;
}

Result<bool> Statement::step() {
  sqlite3* database = sqlite3_db_handle(handle_.get());
  if (bind_error_ != 0) return last_error(database, bind_error_);
  int result = sqlite3_step(handle_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  Error error = last_error(database, result);
  // Without it the failed statement would hold its locks.
  sqlite3_reset(handle_.get());
  return error;
}

Result<void> Statement::run() {
  for (;;) {
    HAKO_TRY(bool row, step());
    if (!row) return ok();
  }
}

void Statement::reset() {
  sqlite3_reset(handle_.get());
  sqlite3_clear_bindings(handle_.get());
  bind_error_ = 0;
}

int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}

std::string Statement::text(int column) const {
  const unsigned char* data = sqlite3_column_text(handle_.get(), column);
  int size = sqlite3_column_bytes(handle_.get(), column);
  // SAFETY: SQLite's text is bytes; `size` counts them.
  return data ? std::string(reinterpret_cast<const char*>(data), size_t(size)) : std::string();
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
}

Result<Transaction> Transaction::begin(Database& database) {
  HAKO_TRYV(database.execute("BEGIN IMMEDIATE"));
  return Transaction(&database);
}

Transaction::~Transaction() {
  // Fails only when SQLite has already rolled back, which is what is wanted.
  if (database_) (void)database_->execute("ROLLBACK");
}

Result<void> Transaction::commit() {
  HAKO_TRYV(database_->execute("COMMIT"));
  database_ = nullptr;
  return ok();
}

}  // namespace hako::store
