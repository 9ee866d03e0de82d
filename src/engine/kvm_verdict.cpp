#include "engine/kvm_verdict.h"

#include <boost/json.hpp>

#include "base/encoding.h"
#include "base/fd.h"

namespace hako::engine {

namespace {

std::string boot_of_this_host() {
  auto id = read_file("/proc/sys/kernel/random/boot_id");
  if (!id) return "unknown";
  std::string text = std::move(id).value();
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string text_of(const boost::json::object& object, const char* name) {
  const auto* value = object.if_contains(name);
  const auto* text = value ? value->if_string() : nullptr;
  return text ? std::string(text->data(), text->size()) : "";
}

}  // namespace

std::string kvm_trial_subject(const Fingerprint& engine, const std::string& guest_digest) {
  return boot_of_this_host() + " " + engine.vmm_build + " " + engine.cpu + " " + guest_digest;
}

bool of_this_boot(const KvmVerdict& verdict) {
  return verdict.subject.starts_with(boot_of_this_host() + " ");
}

std::optional<KvmVerdict> read_kvm_verdict(const std::string& path) {
  auto text = read_file(path);
  if (!text) return std::nullopt;
  boost::json::error_code error;
  auto value = boost::json::parse(text.value(), error);
  if (error || !value.is_object()) return std::nullopt;
  const auto& object = value.get_object();
  const auto* works = object.if_contains("works");
  KvmVerdict verdict;
  verdict.subject = text_of(object, "subject");
  verdict.works = works && works->is_bool() && works->get_bool();
  verdict.reason = text_of(object, "reason");
  return verdict;
}

Result<void> write_kvm_verdict(const std::string& path, const KvmVerdict& verdict) {
  boost::json::object object;
  object["subject"] = verdict.subject;
  object["works"] = verdict.works;
  object["reason"] = valid_utf8(verdict.reason);
  return write_file_atomically(path, boost::json::serialize(object), 0644);
}

}  // namespace hako::engine
