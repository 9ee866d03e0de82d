#include "audit/verify.h"

#include <fcntl.h>

#include <array>
#include <boost/json.hpp>
#include <vector>

#include "audit/line.h"
#include "audit/segments.h"

namespace hako::audit {
namespace {

constexpr size_t kLongestPublished = 4096;

struct Place {
  int64_t segment = 0;  ///< its first sequence, as its name says
  int64_t line = 0;
};

struct Item {
  std::string_view text;
  bool whole = true;
  Place place;
};

/// All lines of all segments, one after another.
class Walk {
 public:
  Walk(const Folder& folder, const std::vector<int64_t>& segments)
      : folder_(folder), segments_(segments) {}

  Result<std::optional<Item>> next() {
    std::optional<Item> item;
    for (;;) {
      if (reader_) {
        HAKO_TRY(auto line, reader_->next());
        if (line) {
          ++place_.line;
          item = Item{line->text, line->whole, place_};
          return item;
        }
        reader_.reset();
      }
      if (opened_ == segments_.size()) return item;
      place_ = Place{segments_[opened_++], 0};
      HAKO_TRY(auto file, folder_.open_file(segment_name(place_.segment), O_RDONLY));
      reader_.emplace(std::move(file));
    }
  }

 private:
  const Folder& folder_;
  const std::vector<int64_t>& segments_;
  size_t opened_ = 0;
  Place place_;
  std::optional<LineReader> reader_;
};

/// The last record that fits.
struct Seen {
  Place place;
  Link link;
  std::string hash;
};

/// A record that must be there, as somebody knows from elsewhere.
struct Wanted {
  int64_t sequence = 0;
  std::string hash;
  std::string source;  ///< for people
  bool met = false;
};

/// What stands behind a record that does not fit, as far as it tells what is wrong with it.
struct Behind {
  bool any = false;
  bool successor = false;      ///< the record that belongs there
  bool same_sequence = false;  ///< one with its sequence
  bool knows_current = false;  ///< one that was written after the record that does not fit
  bool knows_last = false;     ///< one that was written after the last that does
};

class Verifier {
 public:
  Verifier(const Folder& folder, const PublicKey& key, const Expectation& expected)
      : folder_(folder), key_(key), key_hex_(to_hex(key)), expected_(expected) {}

  Result<Verdict> run() {
    HAKO_TRY(segments_, list_segments(folder_));
    if (segments_.empty()) {
      return Error(ErrorCode::not_found, folder_.path() + " has no segment of an audit log");
    }
    verdict_.segments = int64_t(segments_.size());
    HAKO_TRYV(read_expectations());
    Walk walk(folder_, segments_);
    while (!verdict_.problem) {
      if (expected_.stop && *expected_.stop) {
        return Error(ErrorCode::cancelled, "the audit log was not looked at to its end");
      }
      if (expected_.up_to > 0 && verdict_.last_sequence >= expected_.up_to) break;
      HAKO_TRY(auto item, walk.next());
      if (!item) break;
      HAKO_TRYV(take(*item));
    }
    if (!verdict_.problem) check_whole();
    return std::move(verdict_);
  }

 private:
  // What is expected.

  Result<void> read_expectations() {
    if (!expected_.head.empty()) {
      auto head = parse_head(expected_.head);
      if (!head) return Error(ErrorCode::invalid_argument, "that is no head of an audit log");
      if (!is_signed_by(expected_.head, key_)) {
        return Error(ErrorCode::corrupted, "the head to compare with is not signed with that key");
      }
      want(*head, expected_.head, "the head that was given");
    }
    if (expected_.at_least > 0) {
      wanted_.push_back(Wanted{expected_.at_least, expected_.hash, "what was given"});
    }
    if (expected_.up_to == 0 && folder_.has(kHeadName)) {
      HAKO_TRY(auto line, folder_.read(kHeadName, kLongestPublished));
      if (!line.empty() && line.back() == '\n') line.pop_back();
      auto head = parse_head(line);
      if (!head || !is_signed_by(line, key_)) {
        bool foreign = head && head->key != key_hex_;
        verdict_.problem =
            Problem{foreign ? Flaw::foreign : Flaw::signature, "head.json", 1,
                    head ? head->link.sequence : 0, "head.json is not signed with this key"};
        return ok();
      }
      want(*head, line, "head.json");
    }
    verdict_.compared_with_head = !wanted_.empty();
    return ok();
  }

  void want(const Head& head, std::string_view line, std::string source) {
    wanted_.push_back(Wanted{head.link.sequence, hash_line(line), std::move(source)});
  }

  // One record after another.

  Result<void> take(const Item& item) {
    auto link = item.whole ? parse_link(item.text) : std::nullopt;
    bool begins = !last_ || last_->place.segment != item.place.segment;
    bool fits = link && follows(*link, item.place) && is_json(item.text);
    if (fits && begins) fits = link->sequence == item.place.segment && is_head(item.text);
    if (fits && is_head(item.text)) fits = take_head(item);
    if (!fits) return diagnose(item, link);
    std::string hash = hash_line(item.text);
    for (Wanted& wanted : wanted_) {
      if (wanted.sequence != link->sequence) continue;
      wanted.met = true;
      if (wanted.hash == hash) continue;
      set_problem(Flaw::changed, item.place, link->sequence,
                  "it is another record than the one that " + wanted.source + " names");
      return ok();
    }
    if (auto before = retired_before(item.text)) retired_ = std::max(retired_, *before);
    ++verdict_.records;
    if (!last_) verdict_.first_sequence = link->sequence;
    verdict_.last_sequence = link->sequence;
    verdict_.closed = closes_;
    closes_ = false;
    last_ = Seen{item.place, std::move(*link), std::move(hash)};
    return ok();
  }

  bool follows(const Link& link, const Place& place) const {
    if (last_) return link.sequence == last_->link.sequence + 1 && link.previous == last_->hash;
    return link.sequence == place.segment && (link.sequence != 1 || link.previous == no_hash());
  }

  static bool is_json(std::string_view text) {
    boost::system::error_code error;
    (void)boost::json::parse(text, error);
    return !error;
  }

  bool take_head(const Item& item) {
    auto head = parse_head(item.text);
    if (!head || head->key != key_hex_ || !is_signed_by(item.text, key_)) return false;
    if (!verdict_.log.empty() && head->log != verdict_.log) return false;
    verdict_.log = head->log;
    ++verdict_.heads;
    verdict_.signed_sequence = head->link.sequence;
    verdict_.signed_time = time_of(item.text);
    closes_ = head->why == "close";
    return true;
  }

  static std::string time_of(std::string_view line) {
    constexpr std::string_view kTime = "\"time\":\"";
    size_t begin = line.find(kTime);
    if (begin == std::string_view::npos) return {};
    line.remove_prefix(begin + kTime.size());
    return std::string(line.substr(0, line.find('"')));
  }

  // What is wrong with the first that does not fit.

  void set_problem(Flaw flaw, const Place& place, int64_t sequence, std::string text) {
    verdict_.problem =
        Problem{flaw, segment_name(place.segment), place.line, sequence, std::move(text)};
  }

  int64_t expected_sequence(const Item& item) const {
    return last_ ? last_->link.sequence + 1 : item.place.segment;
  }
  std::string expected_hash(const Item& item) const {
    if (last_) return last_->hash;
    return item.place.segment == 1 ? no_hash() : std::string();
  }

  Result<void> diagnose(const Item& item, const std::optional<Link>& link) {
    // The text goes with the next line that is read.
    std::string text(item.text);
    Place place = item.place;
    int64_t due = expected_sequence(item);
    HAKO_TRY(Behind behind, look_behind(item, hash_line(text)));
    if (!link) {
      if (behind.successor) {
        set_problem(Flaw::inserted, place, due,
                    "it is no record, and the one that belongs here follows");
      } else if (!item.whole) {
        set_problem(Flaw::truncated, place, due, "the line has no end");
      } else {
        set_problem(Flaw::changed, place, due, "it is no record as they are written");
      }
      return ok();
    }
    if (auto head = parse_head(text);
        head && begins_segment(place) && behind.knows_current && belongs_elsewhere(*head)) {
      set_foreign(*head, place);
      return ok();
    }
    bool chains = last_ ? link->previous == last_->hash : due != 1 || link->previous == no_hash();
    if (chains && link->sequence == due) {
      diagnose_content(text, place, due, behind);
      return ok();
    }
    if (!last_ && link->sequence != due) {
      bool moved = behind.knows_current;
      set_problem(moved ? Flaw::out_of_order : Flaw::changed, place, moved ? link->sequence : due,
                  "the segment is named after record " + std::to_string(due) +
                      " and begins with record " + std::to_string(link->sequence));
      return ok();
    }
    if (chains || !last_) {
      set_problem(Flaw::changed, place, due, "what it says of its own place is wrong");
      return ok();
    }
    if (link->sequence == due) return diagnose_hash(text, place, behind);
    if (link->sequence < due) return diagnose_earlier(*link, text, place, behind);
    diagnose_later(*link, place, behind);
    return ok();
  }

  bool begins_segment(const Place& place) const { return place.line == 1; }
  bool belongs_elsewhere(const Head& head) const {
    return head.key != key_hex_ || (!verdict_.log.empty() && head.log != verdict_.log);
  }
  void set_foreign(const Head& head, const Place& place) {
    set_problem(Flaw::foreign, place, head.link.sequence,
                head.key != key_hex_ ? "it is signed with the key " + head.key
                                     : "it is of another log, " + head.log);
  }

  /// It stands where it belongs, and is wrong itself.
  void diagnose_content(const std::string& text, const Place& place, int64_t due,
                        const Behind& behind) {
    if (behind.any && !behind.knows_current) {
      set_problem(Flaw::changed, place, due, "those behind it were written after another one");
      return;
    }
    auto head = parse_head(text);
    if (head && belongs_elsewhere(*head)) return set_foreign(*head, place);
    if (is_head(text)) {
      std::string since = verdict_.heads > 0 ? std::to_string(verdict_.signed_sequence) : "none";
      set_problem(Flaw::signature, place, due,
                  "its signature is wrong: it, or records before it, are not what was signed "
                  "(the last head that is right: " +
                      since + ")");
    } else if (begins_segment(place)) {
      set_problem(Flaw::changed, place, due, "a segment must begin with a signed record");
    } else {
      set_problem(Flaw::changed, place, due, "it is no record as they are written");
    }
  }

  /// Its sequence is right, and what it says of the record before is not.
  Result<void> diagnose_hash(const std::string& text, const Place& place, const Behind& behind) {
    int64_t due = last_->link.sequence + 1;
    if (behind.successor) {
      set_problem(Flaw::inserted, place, due, "the record that belongs here follows");
    } else if (behind.knows_current || is_signed_by(text, key_)) {
      set_problem(Flaw::changed, last_->place, last_->link.sequence,
                  "those behind it were written after another one");
    } else {
      set_problem(Flaw::changed, place, due, "it was not written after the record before it");
    }
    return ok();
  }

  /// There has been a record with its sequence.
  Result<void> diagnose_earlier(const Link& link, const std::string& text, const Place& place,
                                const Behind& behind) {
    if (behind.knows_current && !behind.knows_last) {
      // Two were written after the same one, and this is the one that others were written after.
      HAKO_TRY(auto rival, find_rival(link, hash_line(text)));
      if (rival) {
        set_problem(Flaw::inserted, *rival, link.sequence,
                    "the record that belongs here is line " + std::to_string(place.line) + " of " +
                        segment_name(place.segment));
        return ok();
      }
    }
    set_problem(Flaw::out_of_order, place, link.sequence,
                "record " + std::to_string(last_->link.sequence + 1) + " is due here");
    return ok();
  }

  void diagnose_later(const Link& link, const Place& place, const Behind& behind) {
    int64_t due = last_->link.sequence + 1;
    if (!behind.successor && !behind.same_sequence) {
      set_problem(Flaw::missing, place, due,
                  "record " + std::to_string(link.sequence) +
                      " stands here: " + std::to_string(link.sequence - due) + " are not there");
    } else if (behind.knows_current) {
      set_problem(Flaw::out_of_order, place, link.sequence,
                  "record " + std::to_string(due) + " is due here, and comes later");
    } else {
      set_problem(Flaw::inserted, place, link.sequence, "the record that belongs here follows");
    }
  }

  /// Reads all that stands behind `item` again.
  Result<Behind> look_behind(const Item& item, const std::string& hash) {
    Behind behind;
    int64_t due = expected_sequence(item);
    std::string due_hash = expected_hash(item);
    Place place = item.place;
    std::string text(item.text);
    if (auto link = parse_link(text)) behind.knows_last = link->previous == due_hash;
    Walk walk(folder_, segments_);
    for (;;) {
      HAKO_TRY(auto next, walk.next());
      if (!next) return behind;
      if (next->place.segment < place.segment ||
          (next->place.segment == place.segment && next->place.line <= place.line)) {
        continue;
      }
      behind.any = true;
      auto link = parse_link(next->text);
      if (!link) continue;
      behind.same_sequence |= link->sequence == due;
      behind.successor |= link->sequence == due && link->previous == due_hash;
      behind.knows_current |= link->previous == hash;
      behind.knows_last |= link->previous == due_hash;
    }
  }

  /// The first line that claims the same place as `link`'s, and is not the same.
  Result<std::optional<Place>> find_rival(const Link& link, const std::string& hash) {
    Walk walk(folder_, segments_);
    std::optional<Place> found;
    for (;;) {
      HAKO_TRY(auto next, walk.next());
      if (!next) return found;
      auto other = parse_link(next->text);
      if (!other || other->sequence != link.sequence || other->previous != link.previous) continue;
      if (hash_line(next->text) != hash) found = next->place;
      return found;
    }
  }

  // All of them fit each other.

  void check_whole() {
    if (!last_) {
      set_problem(Flaw::missing, Place{segments_.front(), 0}, segments_.front(),
                  "there is no record at all");
      return;
    }
    int64_t first = verdict_.first_sequence;
    int64_t meant = expected_.begins_at > 0 ? expected_.begins_at : 1;
    if (first != meant && (expected_.begins_at > 0 || first > retired_)) {
      set_problem(Flaw::missing, Place{first, 0}, meant,
                  "the copy begins with record " + std::to_string(first) +
                      ", and nothing in it says that those before were removed");
      return;
    }
    if (last_->link.sequence < expected_.up_to) {
      Place behind{last_->place.segment, last_->place.line + 1};
      set_problem(Flaw::truncated, behind, last_->link.sequence + 1,
                  "record " + std::to_string(expected_.up_to) +
                      " was there, and the log ends with " + std::to_string(last_->link.sequence));
      return;
    }
    for (const Wanted& wanted : wanted_) {
      if (wanted.met) continue;
      if (wanted.sequence < first) {
        set_problem(Flaw::missing, Place{first, 0}, wanted.sequence,
                    wanted.source + " names a record from before this copy begins");
      } else {
        Place behind{last_->place.segment, last_->place.line + 1};
        set_problem(Flaw::truncated, behind, last_->link.sequence + 1,
                    wanted.source + " names record " + std::to_string(wanted.sequence) +
                        ", and the copy ends with record " + std::to_string(last_->link.sequence));
      }
      return;
    }
  }

  const Folder& folder_;
  const PublicKey& key_;
  const std::string key_hex_;
  const Expectation& expected_;
  std::vector<int64_t> segments_;
  std::vector<Wanted> wanted_;
  std::optional<Seen> last_;
  int64_t retired_ = 0;
  bool closes_ = false;
  Verdict verdict_;
};

}  // namespace

std::string_view to_string(Flaw flaw) {
  constexpr std::array<std::string_view, 7> kNames{
      "changed", "missing", "inserted", "out of order", "truncated", "signature", "foreign"};
  return kNames[static_cast<size_t>(flaw)];
}

Result<Verdict> verify_log(const std::string& directory, const PublicKey& key,
                           const Expectation& expected) {
  HAKO_TRY(auto folder, Folder::open(directory));
  return Verifier(folder, key, expected).run();
}

}  // namespace hako::audit
