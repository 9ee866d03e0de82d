// Certificates made by openssl as a test runs.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/fd.h"

namespace hako::test {

/// An authority in a folder, as ca.pem, and what it signs there: <name>.pem and <name>.key.
class Certificates {
 public:
  explicit Certificates(std::string folder) : folder_(std::move(folder)) {
    openssl("req -x509 " + key("ca") + " -days 30 -subj '/CN=hako test authority' "
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign -out ca.pem");
  }

  /// `names`: as openssl writes them, "DNS:a.test,IP:127.0.0.1". `days` may be negative.
  void issue(const std::string& name, const std::string& names, int days = 30) {
    openssl("req -new " + key(name) + " -subj /CN=" + name +
            " -addext subjectAltName=" + names + " -out " + name + ".csr");
    openssl("x509 -req -in " + name + ".csr -CA ca.pem -CAkey ca.key -CAcreateserial "
            "-copy_extensions copyall -days " + std::to_string(days) + " -out " + name + ".pem");
  }
  void self_sign(const std::string& name, const std::string& names) {
    openssl("req -x509 " + key(name) + " -days 30 -subj /CN=" + name +
            " -addext subjectAltName=" + names + " -out " + name + ".pem");
  }

  std::string certificate(const std::string& name) const { return folder_ + "/" + name + ".pem"; }
  std::string key_file(const std::string& name) const { return folder_ + "/" + name + ".key"; }
  std::string authority() const { return certificate("ca"); }

 private:
  static std::string key(const std::string& name) {
    return "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout " + name + ".key";
  }
  void openssl(const std::string& arguments) {
    std::string command = "cd " + folder_ + " && openssl " + arguments + " >openssl.log 2>&1";
    int status = std::system(command.c_str());
    if (status != 0) {
      auto log = read_file(folder_ + "/openssl.log");
      throw std::runtime_error("openssl " + arguments + ": " + (log ? log.value() : ""));
    }
  }

  std::string folder_;
};

}  // namespace hako::test
