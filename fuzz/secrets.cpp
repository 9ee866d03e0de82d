// What the api tells about a box's secrets, and what is then searched for: reading ends in an error or
// in secrets that can be used; a search finds the same wherever its input is cut, and an answer that
// was masked has no value in it and is as long as before.
#include <boost/json.hpp>

#include <cstdint>
#include <cstdlib>

#include "gate/secret_swap.h"

namespace {

using namespace hako::gate;

constexpr char kFake[] = "sk-fake-zyxwvutsrq";
constexpr char kReal[] = "sk-real-0123456789";

void require(bool holds) {
  if (!holds) std::abort();
}

void read_secrets(std::string_view text) {
  boost::json::error_code error;
  auto value = boost::json::parse(text, error);
  if (error || !value.is_object()) return;
  auto secrets = parse_box_secrets(value.get_object());
  if (!secrets) return require(!secrets.error().message().empty());
  for (const auto& [name, servers] : secrets.value()->hosts)
    for (const auto& server : servers) require(name == server.host);
}

void search(std::string_view text, size_t cut) {
  static const auto set = PlaceholderSet::make({{"api", kFake}}).value();
  bool whole = set.find_in(text) != nullptr;
  PlaceholderSearch search(set);
  bool first = search.feed(text.substr(0, cut)) != nullptr;
  require(whole == (first || search.feed(text.substr(cut)) != nullptr));
  if (text.find(kFake) != text.npos) require(whole);
  BodySearch body(set, "gzip");
  (void)(body.refusal_of(text).empty() && body.refusal_of({}).empty());
}

void mask(std::string_view text, size_t cut) {
  HostSecrets host;
  host.values = PatternSet(std::vector<std::string>{kReal, "0123456789ab"});
  host.masks = {kFake, std::string(12, '*')};
  AnswerMask mask(host);
  std::string passed(mask.pass(text.substr(0, cut)));
  passed += mask.pass(text.substr(cut));
  passed += mask.pass({});
  require(passed.size() == text.size());
  require(passed.find(kReal) == passed.npos);
  if (text.find(kReal) == text.npos && text.find("0123456789ab") == text.npos)
    require(passed == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t cut = data[0] % size;
  read_secrets(text);
  search(text, cut);
  mask(text, cut);
  return 0;
}
