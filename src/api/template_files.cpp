#include "api/template_files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/encoding.h"
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

std::string name_of(const std::string& template_id, const std::string& hash) {
  return template_id + "-" + hash;
}

/// Takes a half-received file away unless it has got its name.
struct Unfinished {
  std::string path;
  ~Unfinished() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

}  // namespace

TemplateFiles::TemplateFiles(const config::Config& config)
    : folder_(fs::path(config.database()).parent_path().string() + "/template-files") {
  std::error_code error;
  fs::create_directories(folder_, error);
  // What an earlier run was receiving.
  for (const auto& entry : fs::directory_iterator(folder_, error))
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

bool TemplateFiles::present(const std::string& template_id, const std::string& hash) const {
  return ::access(path(name_of(template_id, hash) + ".sum").c_str(), F_OK) == 0;
}

Result<std::string> TemplateFiles::grant(const std::string& template_id, const std::string& hash) {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(grants_, [&](const auto& entry) { return entry.second.until < now; });
  if (grants_.size() >= kMostGrants)
    return Error(ErrorCode::resource_exhausted, "too many uploads are under way");
  std::string token = random_hex(kGrantBytes);
  grants_[token] = Grant{name_of(template_id, hash), now + kGrantTime};
  return std::string(kPath) + token;
}

Task<void> TemplateFiles::serve(http::Exchange& exchange) {
  std::string token(exchange.head().path().substr(kPath.size()));
  auto found = grants_.find(token);
  if (found == grants_.end() || found->second.until < std::chrono::steady_clock::now()) {
    auto response = http::error_response(404, "this upload is not expected");
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  if (found->second.in_use) {
    auto response = http::error_response(409, "this upload is under way");
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  struct InUse {
    std::map<std::string, Grant>& grants;
    std::string token;
    ~InUse() {
      if (auto grant = grants.find(token); grant != grants.end()) grant->second.in_use = false;
    }
  };
  found->second.in_use = true;
  InUse in_use{grants_, token};
  std::string name = found->second.name;
  auto received = co_await with_deadline(kUploadTime, receive(exchange, std::move(name)));
  http::Response response = http::Response::empty(200);
  if (!received) {
    bool ours = received.error().code() == ErrorCode::internal;
    if (ours) log_warn("upload failed", {{"error", received.error().message()}});
    response = ours ? http::error_response(500, "the upload could not be kept")
                    : http::error_response(received.error());
  }
  (void)co_await exchange.respond(std::move(response));
}

Task<Result<void>> TemplateFiles::receive(http::Exchange& exchange, std::string name) {
  Unfinished unfinished{path("." + random_hex(8))};
  auto opened = open_file(unfinished.path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!opened) co_return Error(ErrorCode::internal, opened.error().message());
  Fd file = std::move(opened).value();
  Digest digest;
  int64_t size = 0;
  struct Receiving {
    int64_t &all, &own;
    ~Receiving() { all -= own; }
  } receiving{receiving_, size};
  std::vector<char> buffer(kUploadBuffer);
  for (;;) {
    HAKO_CO_TRY(size_t n, co_await exchange.read_some(asio::buffer(buffer)));
    if (n == 0) break;
    size += int64_t(n);
    receiving_ += int64_t(n);
    if (receiving_ > kMostBytes)
      co_return Error(ErrorCode::no_space, "too much is being uploaded at once; try again");
    if (size > kLargestFile) co_return Error(ErrorCode::too_large, "an upload has at most 4 GiB");
    auto keep = [&]() -> Result<void> {
      digest.add(buffer.data(), n);
      return write_all(file.get(), std::string_view(buffer.data(), n));
    };
    HAKO_CO_TRYV(co_await run_blocking(disk_, keep));
  }
  auto finish = [&]() -> Result<void> {
    make_room(size);
    // The digest is written last: with it the upload is there.
    ::unlink(path(name + ".sum").c_str());
    if (::rename(unfinished.path.c_str(), path(name).c_str()) < 0)
      return Error(ErrorCode::internal, "an upload could not be named");
    unfinished.path.clear();
    return write_file_atomically(path(name + ".sum"), digest.hex(), 0600);
  };
  co_return co_await run_blocking(disk_, finish);
}

void TemplateFiles::make_room(int64_t bytes) const {
  struct Kept {
    std::string path;
    int64_t size;
    timespec used;
  };
  std::vector<Kept> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    struct stat info {};
    std::string name = entry.path().filename();
    if (name.starts_with(".") || name.ends_with(".sum")) continue;
    if (::lstat(entry.path().c_str(), &info) < 0) continue;
    bytes += info.st_size;
    files.push_back({entry.path(), info.st_size, info.st_mtim});
  }
  std::sort(files.begin(), files.end(), [](const Kept& a, const Kept& b) {
    return std::pair(a.used.tv_sec, a.used.tv_nsec) < std::pair(b.used.tv_sec, b.used.tv_nsec);
  });
  for (const Kept& file : files) {
    if (bytes <= kMostBytes) break;
    ::unlink((file.path + ".sum").c_str());
    ::unlink(file.path.c_str());
    bytes -= file.size;
  }
}

Result<TemplateFiles::File> TemplateFiles::open(const std::string& template_id,
                                                const std::string& hash) {
  std::string name = path(name_of(template_id, hash));
  File file;
  HAKO_TRY(file.digest, read_file(name + ".sum", 64));
  HAKO_TRY(file.content, open_file(name, O_RDONLY));
  ::utimensat(AT_FDCWD, name.c_str(), nullptr, 0);  // its last use
  return file;
}

void TemplateFiles::remove_all_of(const std::string& template_id) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error))
    if (entry.path().filename().string().starts_with(template_id + "-"))
      fs::remove(entry.path(), error);
}

}  // namespace hako::api
