#include "guest/java_trust.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/encoding.h"
#include "base/fd.h"

namespace hako::guest {
namespace {

constexpr char kJavaList[] = "/run/hako/authorities.jks";
constexpr size_t kLargestList = 4 << 20;
constexpr std::string_view kPemBegin = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view kPemEnd = "-----END CERTIFICATE-----";

bool has_java() {
  for (const char* path : {"/usr/bin/java", "/usr/local/bin/java", "/opt/java/openjdk/bin/java",
                           "/usr/java/latest/bin/java"}) {
    if (::access(path, X_OK) == 0) return true;
  }
  return false;
}

/// Big-endian, as all numbers in it.
void put_number(std::string& out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out += char(value >> (8 * i) & 0xff);
}

void put_text(std::string& out, std::string_view text) {
  put_number(out, text.size(), 2);
  out += text;
}

}  // namespace

Result<std::string> java_list(std::string_view pem) {
  std::string entries;
  uint32_t count = 0;
  for (;;) {
    size_t begin = pem.find(kPemBegin);
    if (begin == pem.npos) break;
    pem.remove_prefix(begin + kPemBegin.size());
    size_t end = pem.find(kPemEnd);
    if (end == pem.npos) return Error(ErrorCode::corrupted, "a certificate has no end");
    std::string base64;
    for (char c : pem.substr(0, end))
      if (c != '\n' && c != '\r' && c != ' ') base64 += c;
    auto certificate = base64_decode(base64);
    if (!certificate || certificate->empty()) {
      return Error(ErrorCode::corrupted, "a certificate cannot be read");
    }
    pem.remove_prefix(end + kPemEnd.size());
    constexpr uint32_t kTrusted = 2;
    put_number(entries, kTrusted, 4);
    put_text(entries, "authority" + std::to_string(count++));
    put_number(entries, 0, 8);  // since when
    put_text(entries, "X.509");
    put_number(entries, certificate->size(), 4);
    entries += *certificate;
  }
  std::string list;
  put_number(list, 0xfeedfeed, 4);
  put_number(list, 2, 4);
  put_number(list, count, 4);
  list += entries;
  list.append(20, '\0');  // the check sum
  return list;
}

Result<void> install_in_java(const char* list) {
  if (!has_java()) return ok();
  HAKO_TRY(auto text, read_file(list, kLargestList));
  HAKO_TRY(auto java, java_list(text));
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK;
  HAKO_TRY(auto file, open_file(kJavaList, kFlags, 0644));
  return write_all(file.get(), java);
}

std::string java_options() {
  if (!has_java()) return {};
  return std::string("-Djavax.net.ssl.trustStore=") + kJavaList +
         " -Djavax.net.ssl.trustStoreType=JKS";
}

}  // namespace hako::guest
