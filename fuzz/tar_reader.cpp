// Archives that a box sends to `hako cp`: however the bytes are cut, the sink is told the same, and
// of each entry exactly the bytes that were announced.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "cli/tar.h"

namespace {

using namespace hako::cli;

void require(bool holds) {
  if (!holds) std::abort();
}

class Recorder : public TarSink {
 public:
  hako::Result<void> entry(const TarEntry& entry) override {
    require(!open_);
    open_ = true;
    left_ = entry.size;
    told_ += "entry " + std::to_string(static_cast<int>(entry.kind)) + " " + entry.name + " > " +
             entry.link + " " + std::to_string(entry.mode) + " " + std::to_string(entry.size) +
             " " + std::to_string(entry.mtime) + "\n";
    return hako::ok();
  }
  hako::Result<void> data(std::string_view bytes) override {
    require(open_ && bytes.size() <= left_);
    left_ -= bytes.size();
    told_ += bytes;
    return hako::ok();
  }
  hako::Result<void> end_of_entry() override {
    require(open_ && left_ == 0);
    open_ = false;
    told_ += "\nend\n";
    return hako::ok();
  }
  std::string take() { return std::move(told_); }

 private:
  bool open_ = false;
  uint64_t left_ = 0;
  std::string told_;
};

std::string decode(std::string_view bytes, size_t piece) {
  Recorder recorder;
  TarReader reader(recorder);
  std::string outcome = "whole";
  while (!bytes.empty()) {
    size_t n = std::min(piece, bytes.size());
    auto fed = reader.feed(bytes.substr(0, n));
    if (!fed) {
      outcome = fed.error().message();
      break;
    }
    bytes.remove_prefix(n);
  }
  if (outcome == "whole" && !reader.finish()) outcome = "cut";
  return recorder.take() + outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::string whole = decode(bytes, size + 1);
  require(whole == decode(bytes, 1));
  require(whole == decode(bytes, 509));
  return 0;
}
