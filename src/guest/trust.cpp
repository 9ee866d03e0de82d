#include "guest/trust.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"
#include "base/log.h"
#include "guest/java_trust.h"
#include "wire/box_trust.h"

namespace hako::guest {
namespace {

constexpr size_t kLongestCertificate = 8192;
/// Longer than what we add to a list, so that it is found again.
constexpr size_t kTail = 16384;
constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----\n";
constexpr std::string_view kEnd = "-----END CERTIFICATE-----\n";
constexpr std::string_view kMark = "\n# This machine's own authority (hako)\n";
/// Of a system without any list.
constexpr char kOwnList[] = "/run/hako/authorities.pem";
constexpr char kHashFolder[] = "/etc/ssl/certs";
constexpr char kLocalFolder[] = "/usr/local/share/ca-certificates";

/// The list of authorities that this system has: Debian and Alpine, Fedora, SUSE, the BSDs' way.
const char* system_list() {
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}) {
    struct stat info {};
    if (::stat(path, &info) == 0 && S_ISREG(info.st_mode)) return path;
  }
  return nullptr;
}

void note(const char* what, const Error& error) {
  log_warn("authority_not_installed", {{"where", what}, {"error", error.message()}});
}

/// A pipe or a device that somebody has put there must not hold us up.
Result<Fd> open_list(const char* path) {
  HAKO_TRY(auto file, open_file(path, O_RDWR | O_NONBLOCK));
  struct stat info {};
  if (::fstat(file.get(), &info) < 0) return Error::from_errno(errno, "stat");
  if (!S_ISREG(info.st_mode)) return Error(ErrorCode::failed_precondition, "it is no file");
  return file;
}

Result<void> append_to_list(const char* path, std::string_view certificate) {
  HAKO_TRY(auto file, open_list(path));
  off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) return Error::from_errno(errno, "find its end");
  size_t wanted = std::min<size_t>(kTail, size_t(size));
  off_t from = size - off_t(wanted);
  std::string tail(wanted, '\0');
  ssize_t got = ::pread(file.get(), tail.data(), wanted, from);
  if (got != ssize_t(wanted)) return Error::from_errno(got < 0 ? errno : EIO, "read its end");
  NewEnd end = end_of_list(tail, certificate);
  off_t kept = from + off_t(end.kept);
  if (kept < size && ::ftruncate(file.get(), kept) < 0) return Error::from_errno(errno, "cut it");
  if (::lseek(file.get(), kept, SEEK_SET) < 0) return Error::from_errno(errno, "find its end");
  return write_all(file.get(), end.added);
}

Result<void> write_new(const char* path, std::string_view content) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK;
  HAKO_TRY(auto file, open_file(path, kFlags, 0644));
  return write_all(file.get(), content);
}

/// Only where the folder is there.
void link_in(const char* folder, std::string_view name) {
  std::string path = std::string(folder) + "/" + std::string(name);
  if (::symlink(kAuthorityFile, path.c_str()) == 0 || errno == EEXIST || errno == ENOENT) return;
  note(folder, Error::from_errno(errno, "make a link"));
}

}  // namespace

bool is_certificate(std::string_view text) {
  if (text.size() > kLongestCertificate || !text.starts_with(kBegin) || !text.ends_with(kEnd)) {
    return false;
  }
  std::string_view inner = text.substr(kBegin.size(), text.size() - kBegin.size() - kEnd.size());
  return std::all_of(inner.begin(), inner.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '+' || c == '/' || c == '=' || c == '\n';
  });
}

NewEnd end_of_list(std::string_view tail, std::string_view certificate) {
  NewEnd end;
  end.kept = std::min(tail.rfind(kMark), tail.size());
  // Whatever somebody has added behind ours stays.
  std::string_view ours = tail.substr(end.kept);
  size_t theirs = ours.empty() ? ours.npos : ours.find(kEnd);
  end.added.append(kMark).append(certificate);
  if (theirs != ours.npos) end.added.append(ours.substr(theirs + kEnd.size()));
  return end;
}

void prepare_trust() {
  const char* list = system_list();
  if (!list) return;
  // Opened for writing it is copied up from the shared root, here instead of in every clone.
  auto file = open_list(list);
  if (!file) note(list, file.error());
}

void install_authority(std::string_view certificate) {
  if (auto written = write_new(kAuthorityFile, certificate); !written) {
    note(kAuthorityFile, written.error());
  }
  const char* list = system_list();
  auto listed = list ? append_to_list(list, certificate) : write_new(kOwnList, certificate);
  if (!listed) note(list ? list : kOwnList, listed.error());
  link_in(kHashFolder, wire::kAuthorityLink);
  link_in(kLocalFolder, "hako-machine.crt");
  if (auto java = install_in_java(list ? list : kOwnList); !java) note("java", java.error());
}

std::vector<std::pair<std::string, std::string>> trust_variables() {
  const char* list = system_list();
  if (!list) list = kOwnList;
  std::vector<std::pair<std::string, std::string>> variables = {
      {"NODE_EXTRA_CA_CERTS", kAuthorityFile}};
  for (const char* name : {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
                           "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO"}) {
    variables.emplace_back(name, list);
  }
  if (auto options = java_options(); !options.empty()) {
    variables.emplace_back("JAVA_TOOL_OPTIONS", std::move(options));
  }
  return variables;
}

}  // namespace hako::guest
