#include <algorithm>
#include <array>
#include <cctype>

#include "audit/text.h"

namespace hako::audit {
namespace {

constexpr std::string_view kMask = "***";
constexpr size_t kLongestName = 64;
/// Of `e2b_`: less than the 40 of a whole one, as what we are given may be cut.
constexpr size_t kFewestDigits = 8;

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}
bool is_hex(char c) {
  return std::isxdigit(static_cast<unsigned char>(c)) != 0;
}
bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
bool ends_value(char c) {
  return std::string_view(" \t\r\n\"'`&;,|<>(){}[]").find(c) != std::string_view::npos ||
         static_cast<unsigned char>(c) < ' ';
}

/// How many bytes at the start are one or more of what `fits`.
template <class Fits>
size_t run_of(std::string_view text, Fits fits) {
  return size_t(std::find_if_not(text.begin(), text.end(), fits) - text.begin());
}

/// Keys and tokens that are known by how they begin: how many bytes of one are at the start.
size_t known_token(std::string_view text) {
  struct Form {
    std::string_view begins;
    size_t fewest;
    bool hex;
  };
  constexpr std::array<Form, 11> kForms{{{"e2b_", kFewestDigits, true},
                                         {"github_pat_", 16, false},
                                         {"ghp_", 16, false},
                                         {"gho_", 16, false},
                                         {"ghs_", 16, false},
                                         {"glpat-", 16, false},
                                         {"xoxb-", 16, false},
                                         {"xoxp-", 16, false},
                                         {"npm_", 16, false},
                                         {"AKIA", 16, false},
                                         {"sk-", 16, false}}};
  for (const Form& form : kForms) {
    if (text.substr(0, form.begins.size()) != form.begins) continue;
    auto rest = text.substr(form.begins.size());
    size_t length = form.hex ? run_of(rest, is_hex) : run_of(rest, is_word);
    if (length >= form.fewest) return form.begins.size() + length;
  }
  return 0;
}

/// Whether what a name names is likely to be secret.
bool names_a_secret(std::string_view name) {
  std::string plain;
  for (char c : name) {
    if (c != '-' && c != '_') plain += lower(c);
  }
  constexpr std::array<std::string_view, 12> kParts{
      "password",  "passwd",     "passphrase",    "secret",     "token",     "apikey",
      "accesskey", "privatekey", "authorization", "credential", "setcookie", "signature"};
  auto in_name = [&](std::string_view part) { return plain.find(part) != std::string::npos; };
  return std::any_of(kParts.begin(), kParts.end(), in_name) || plain == "pass" || plain == "pwd" ||
         plain == "cookie" || plain == "auth";
}

/// Headers whose value goes on over blanks.
bool is_header_of_words(std::string_view name) {
  std::string plain;
  for (char c : name) plain += lower(c);
  return plain.find("authorization") != std::string::npos ||
         plain.find("cookie") != std::string::npos;
}

class Masker {
 public:
  explicit Masker(std::string_view text) : text_(text) {}

  std::string run() {
    while (at_ < text_.size()) {
      bool begins = at_ == 0 || !is_word(text_[at_ - 1]);
      if (begins && is_word(text_[at_])) {
        word();
      } else if (text_.substr(at_, 3) == "://") {
        authority();
      } else if (size_t length = inner_token()) {
        skip(length);
      } else {
        out_ += text_[at_++];
      }
    }
    return std::move(out_);
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  void keep(size_t count) {
    out_.append(text_.substr(at_, count));
    at_ += count;
  }
  void skip(size_t count) {
    out_ += kMask;
    at_ += count;
  }
  /// Ours are masked wherever they stand, in the middle of a word, too.
  size_t inner_token() const { return text_[at_] == 'e' ? known_token(rest()) : 0; }

  void word() {
    if (size_t length = known_token(rest())) return skip(length);
    size_t length = run_of(rest(), is_word);
    std::string_view name = text_.substr(at_, std::min(length, kLongestName));
    bool is_secret = length <= kLongestName && names_a_secret(name);
    bool is_scheme = equals(name, "bearer");
    bool is_option = name.substr(0, 1) == "-";
    size_t end = at_ + length;
    keep_masking_tokens(end);
    if (is_secret) {
      value(name, is_option);
    } else if (is_scheme && at_ < text_.size() && is_blank(text_[at_])) {
      keep(run_of(rest(), is_blank));
      if (size_t secret = value_length(false); secret >= kFewestDigits) skip(secret);
    }
  }

  static bool equals(std::string_view name, std::string_view wanted) {
    return std::equal(name.begin(), name.end(), wanted.begin(), wanted.end(),
                      [](char a, char b) { return lower(a) == b; });
  }

  void keep_masking_tokens(size_t end) {
    while (at_ < end) {
      if (size_t length = inner_token()) {
        skip(length);
      } else {
        out_ += text_[at_++];
      }
    }
  }

  /// What stands behind a secret's name: `=value`, `: value`, `"=>"value"`; behind an option's also
  /// ` value`.
  void value(std::string_view name, bool is_option) {
    size_t ahead = at_;
    auto pass = [&](auto fits) {
      while (ahead < text_.size() && fits(text_[ahead])) ++ahead;
    };
    if (ahead < text_.size() && (text_[ahead] == '"' || text_[ahead] == '\'')) ++ahead;
    pass(is_blank);
    bool assigned = ahead < text_.size() && (text_[ahead] == '=' || text_[ahead] == ':');
    if (assigned) {
      ++ahead;
      if (ahead < text_.size() && text_[ahead] == '>') ++ahead;
      pass(is_blank);
    } else if (!is_option || ahead == at_) {
      return;
    }
    keep(ahead - at_);
    size_t length = value_length(is_header_of_words(name) && assigned);
    if (length > 0) skip(length);
  }

  /// In quotes up to the closing one, which is left to stand.
  size_t value_length(bool over_blanks) {
    if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
      char quote = text_[at_];
      keep(1);
      return run_of(rest(), [quote](char c) { return c != quote && c != '\n'; });
    }
    auto fits = [over_blanks](char c) {
      if (over_blanks) return c != '"' && c != '\'' && c != '\n' && c != '\r';
      return !ends_value(c);
    };
    return run_of(rest(), fits);
  }

  /// user:password@host
  void authority() {
    keep(3);
    auto part = rest().substr(0, run_of(rest(), [](char c) { return !ends_value(c) && c != '/'; }));
    size_t at_sign = part.rfind('@');
    size_t colon = part.find(':');
    if (at_sign == std::string_view::npos || colon == std::string_view::npos || colon > at_sign) {
      return;
    }
    keep(colon + 1);
    skip(at_sign - colon - 1);
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string mask_secrets(std::string_view text, size_t most) {
  return Masker(text.substr(0, most)).run();
}

}  // namespace hako::audit
