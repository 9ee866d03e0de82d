#include "api/template_files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "api/server.h"
#include "api/standing.h"
#include "api/user_error.h"
#include "base/clock.h"
#include "base/encoding.h"
#include "base/folder.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::api {
using namespace std::chrono_literals;

namespace {

namespace fs = std::filesystem;

constexpr auto kGrantTime = 1h;
constexpr auto kUploadTime = 2h;
constexpr size_t kUploadBuffer = 256 << 10;
constexpr size_t kGrantBytes = 20;

class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw std::runtime_error("OpenSSL has no SHA-256");
  }
  void add(const char* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  std::string hex() {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), bytes, &size);
    return hex_encode({reinterpret_cast<const char*>(bytes), size});
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

/// No tenant's name holds a '@'.
std::string files_of_template(const std::string& tenant, const std::string& template_id) {
  return tenant + "@" + template_id + "-";
}

std::string file_of(const TemplateFiles::Name& name) {
  return files_of_template(name.tenant, name.template_id) + name.hash;
}

Error not_expected() {
  return Error(ErrorCode::not_found, "this upload is not expected");
}

int64_t sum_of(const std::map<std::string, int64_t>& by_tenant) {
  int64_t sum = 0;
  for (const auto& [tenant, bytes] : by_tenant) sum += bytes;
  return sum;
}

/// The tenant with the most.
std::string greatest(const std::map<std::string, int64_t>& by_tenant) {
  auto most = std::max_element(by_tenant.begin(), by_tenant.end(),
                               [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == by_tenant.end() ? std::string() : most->first;
}

/// Takes a half-received file away unless it has got its name.
struct Unfinished {
  std::string path;
  ~Unfinished() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

}  // namespace

TemplateFiles::TemplateFiles(const config::Config& config, store::AsyncStore& store)
    : store_(store),
      folder_(fs::path(config.database()).parent_path().string() + "/template-files"),
      min_free_disk_mib_(config.min_free_disk_mib) {
  std::error_code error;
  fs::create_directories(folder_, error);
  // What an earlier run was receiving.
  for (const auto& entry : entries_of(folder_, error))
    if (entry.path().filename().string().starts_with(".")) fs::remove(entry.path(), error);
}

bool TemplateFiles::is_hash(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool TemplateFiles::is_upload(const http::RequestHead& head) {
  return head.method == http::Verb::put && head.path().starts_with(kPath);
}

bool TemplateFiles::present(const Name& name) const {
  return ::access(path(file_of(name) + ".sum").c_str(), F_OK) == 0;
}

bool TemplateFiles::make_room_for_grant(const std::string& tenant) {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(grants_, [&](const auto& entry) { return entry.second.until < now; });
  std::map<std::string, int64_t> counts;
  for (const auto& [token, grant] : grants_) ++counts[grant.name.tenant];
  bool own_full = counts[tenant] >= int64_t(kMostGrantsOfOne);
  if (!own_full && grants_.size() < kMostGrants) return true;
  std::string whose = own_full ? tenant : greatest(counts);
  auto oldest = grants_.end();
  for (auto each = grants_.begin(); each != grants_.end(); ++each) {
    if (each->second.name.tenant != whose || each->second.in_use) continue;
    if (oldest == grants_.end() || each->second.until < oldest->second.until) oldest = each;
  }
  if (oldest == grants_.end()) return false;
  grants_.erase(oldest);
  return true;
}

Result<std::string> TemplateFiles::grant(const Name& name, Principal who) {
  if (!make_room_for_grant(name.tenant))
    return Error(ErrorCode::resource_exhausted, "too many uploads are under way");
  std::string token = random_hex(kGrantBytes);
  grants_[token] = Grant{name, std::move(who), std::chrono::steady_clock::now() + kGrantTime};
  return std::string(kPath) + token;
}

Task<Result<void>> TemplateFiles::may_upload(Principal who) {
  auto work = [who = std::move(who), now = to_unix_ms(WallClock::now())](store::TenantStore& store) {
    return may_go_on(store, who, policy::Action::template_write, now);
  };
  auto stands = co_await store_.with_tenants(std::move(work));
  if (!stands) co_return error_for_user(stands.error(), "key not looked up");
  if (!stands.value()) co_return not_expected();
  co_return ok();
}

Task<void> TemplateFiles::drop_stale() {
  std::vector<std::pair<std::string, Principal>> holders;
  for (const auto& [token, grant] : grants_) holders.emplace_back(token, grant.who);
  auto work = [holders = std::move(holders), now = to_unix_ms(WallClock::now())](
                  store::TenantStore& store) -> Result<std::vector<std::string>> {
    std::vector<std::string> stale;
    std::map<std::string, bool> known;  // a key may have many
    for (const auto& [token, who] : holders) {
      std::string basis = who.tenant + " " + who.key_id + " " + who.token_id + " " + who.key_state;
      if (!known.contains(basis)) {
        HAKO_TRY(known[basis], may_go_on(store, who, policy::Action::template_write, now));
      }
      if (!known[basis]) stale.push_back(token);
    }
    return stale;
  };
  auto stale = co_await store_.with_tenants(std::move(work));
  // Each is looked at once more when it is used.
  if (!stale) co_return;
  for (const std::string& token : stale.value()) grants_.erase(token);
}

Task<void> TemplateFiles::serve(http::Exchange& exchange) {
  std::string token(exchange.head().path().substr(kPath.size()));
  auto found = grants_.find(token);
  if (found == grants_.end() || found->second.until < std::chrono::steady_clock::now()) {
    auto response = http::error_response(not_expected());
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  if (found->second.in_use) {
    auto response = http::error_response(409, "this upload is under way");
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  struct InUse {
    Grants& grants;
    std::string token;
    bool used_up = false;
    ~InUse() {
      auto grant = grants.find(token);
      if (grant == grants.end()) return;
      grant->second.in_use = false;
      if (used_up) grants.erase(grant);
    }
  };
  found->second.in_use = true;
  InUse in_use{grants_, token};
  Name name = found->second.name;
  Principal who = found->second.who;
  auto receiving = receive(exchange, std::move(name), std::move(who));
  auto received = co_await with_deadline(kUploadTime, std::move(receiving));
  in_use.used_up = bool(received);
  http::Response response = http::Response::empty(200);
  if (!received) {
    bool ours = received.error().code() == ErrorCode::internal;
    if (ours) log_warn("upload failed", {{"error", received.error().message()}});
    response = ours ? http::error_response(500, "the upload could not be kept")
                    : response_for(received.error());
  }
  (void)co_await exchange.respond(std::move(response));
}

/// As for creates: what runs already does not suffer.
Result<void> TemplateFiles::check_room() const {
  auto free = free_disk_mib(folder_);
  if (!free) return Error(ErrorCode::internal, free.error().message());
  if (free.value() >= min_free_disk_mib_) return ok();
  return Error(ErrorCode::no_capacity, "the server's disk is nearly full; try again later");
}

Task<Result<void>> TemplateFiles::receive(http::Exchange& exchange, Name name, Principal who) {
  HAKO_CO_TRYV(co_await may_upload(who));
  exchange.vouch();
  Unfinished unfinished{path("." + random_hex(8))};
  auto opened = open_file(unfinished.path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!opened) co_return Error(ErrorCode::internal, opened.error().message());
  Fd file = std::move(opened).value();
  Digest digest;
  int64_t size = 0;
  struct Receiving {
    std::map<std::string, int64_t>& all;
    const std::string& tenant;
    int64_t& size;
    ~Receiving() {
      if ((all[tenant] -= size) == 0) all.erase(tenant);
    }
  } receiving{receiving_, name.tenant, size};
  std::vector<char> buffer(kUploadBuffer);
  for (;;) {
    HAKO_CO_TRY(size_t n, co_await exchange.read_some(asio::buffer(buffer)));
    if (n == 0) break;
    size += int64_t(n);
    receiving_[name.tenant] += int64_t(n);
    if (sum_of(receiving_) > kMostBytes || receiving_[name.tenant] > kMostBytesOfOne)
      co_return Error(ErrorCode::no_capacity, "too much is being uploaded at once; try again");
    if (size > kLargestFile) co_return Error(ErrorCode::too_large, "an upload has at most 4 GiB");
    auto keep = [&]() -> Result<void> {
      HAKO_TRYV(check_room());
      digest.add(buffer.data(), n);
      return write_all(file.get(), std::string_view(buffer.data(), n));
    };
    HAKO_CO_TRYV(co_await run_blocking(disk_, keep));
  }
  // It may have taken long.
  HAKO_CO_TRYV(co_await may_upload(std::move(who)));
  auto finish = [&]() -> Result<void> {
    make_room(name.tenant, size);
    std::string kept = path(file_of(name));
    // The digest is written last: with it the upload is there.
    ::unlink((kept + ".sum").c_str());
    if (::rename(unfinished.path.c_str(), kept.c_str()) < 0)
      return Error(ErrorCode::internal, "an upload could not be named");
    unfinished.path.clear();
    return write_file_atomically(kept + ".sum", digest.hex(), 0600);
  };
  co_return co_await run_blocking(disk_, finish);
}

void TemplateFiles::make_room(const std::string& tenant, int64_t bytes) const {
  struct Kept {
    std::string path;
    std::string tenant;
    int64_t size;
    timespec used;
  };
  std::vector<Kept> files;
  std::map<std::string, int64_t> sums{{tenant, bytes}};
  std::error_code error;
  for (const auto& entry : entries_of(folder_, error)) {
    struct stat info {};
    std::string name = entry.path().filename();
    if (name.starts_with(".") || name.ends_with(".sum")) continue;
    if (::lstat(entry.path().c_str(), &info) < 0) continue;
    // What a version without tenants has left has no '@', and is nobody's.
    size_t at = name.find('@');
    std::string whose = at == std::string::npos ? std::string() : name.substr(0, at);
    sums[whose] += info.st_size;
    files.push_back({entry.path(), whose, info.st_size, info.st_mtim});
  }
  std::sort(files.begin(), files.end(), [](const Kept& a, const Kept& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (;;) {
    bool own_full = sums[tenant] > kMostBytesOfOne;
    if (!own_full && sum_of(sums) <= kMostBytes) return;
    std::string whose = own_full ? tenant : greatest(sums);
    auto oldest = std::find_if(files.begin(), files.end(),
                               [&](const Kept& file) { return file.tenant == whose; });
    if (oldest == files.end()) return;
    ::unlink((oldest->path + ".sum").c_str());
    ::unlink(oldest->path.c_str());
    sums[whose] -= oldest->size;
    files.erase(oldest);
  }
}

Result<TemplateFiles::File> TemplateFiles::open(const Name& name) {
  std::string kept = path(file_of(name));
  File file;
  HAKO_TRY(file.digest, read_file(kept + ".sum", 64));
  HAKO_TRY(file.content, open_file(kept, O_RDONLY));
  ::utimensat(AT_FDCWD, kept.c_str(), nullptr, 0);  // its last use
  return file;
}

void TemplateFiles::remove_all_of(const std::string& tenant, const std::string& template_id) {
  std::string prefix = files_of_template(tenant, template_id);
  std::error_code error;
  for (const auto& entry : entries_of(folder_, error))
    if (entry.path().filename().string().starts_with(prefix)) fs::remove(entry.path(), error);
}

}  // namespace hako::api
