#include "config/models.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/fd.h"
#include "policy/permission.h"

namespace hako::config {
namespace {

constexpr size_t kLargestModelsFile = 1 << 20;
constexpr size_t kMostEntries = 1024;
constexpr int64_t kMostModelTokens = 1'000'000'000;
constexpr double kMostDollars = 1'000'000;

/// Reads one table, and remembers the first thing that is wrong with it.
class TableReader {
 public:
  TableReader(const std::string& path, const toml::table& table) : path_(path), table_(table) {}

  std::string text(std::string_view name, bool required) {
    const toml::node* node = find(name);
    auto value = node ? node->value<std::string>() : std::nullopt;
    if (node && !(node->is_string() && value)) fail(*node, name, "a text");
    if (!node && required) fail(table_, name, "there");
    return value.value_or("");
  }

  std::optional<int64_t> number(std::string_view name, int64_t least, int64_t most) {
    const toml::node* node = find(name);
    if (!node) return std::nullopt;
    auto value = node->value<int64_t>();
    if (!node->is_integer() || !value || *value < least || *value > most) {
      fail(*node, name, "a whole number from " + std::to_string(least) + " to " +
                            std::to_string(most));
      return std::nullopt;
    }
    return value;
  }

  /// Dollars for a million tokens, as millionths of a dollar.
  std::optional<int64_t> dollars(std::string_view name, bool required) {
    const toml::node* node = find(name);
    if (!node) {
      if (required) fail(table_, name, "there");
      return std::nullopt;
    }
    auto value = node->value<double>();
    if (!node->is_number() || !value || !(*value >= 0) || *value > kMostDollars) {
      fail(*node, name, "dollars for a million tokens");
      return std::nullopt;
    }
    return std::llround(*value * 1'000'000);
  }

  std::optional<std::vector<std::string>> texts(std::string_view name) {
    const toml::node* node = find(name);
    if (!node) return std::nullopt;
    const toml::array* array = node->as_array();
    std::vector<std::string> list;
    if (!array || array->size() > kMostEntries) {
      fail(*node, name, "a list of texts");
      return std::nullopt;
    }
    for (const toml::node& entry : *array) {
      auto value = entry.value<std::string>();
      if (!entry.is_string() || !value || value->empty()) fail(entry, name, "a list of texts");
      list.push_back(value.value_or(""));
    }
    return list;
  }

  void allow_only(std::initializer_list<std::string_view> names) {
    for (auto&& [key, node] : table_) {
      if (std::find(names.begin(), names.end(), key.str()) != names.end()) continue;
      problem_at(node, "'" + std::string(key.str()) + "' is not a known key");
    }
  }

  void fail(const toml::node& node, std::string_view name, const std::string& expected) {
    problem_at(node, "'" + std::string(name) + "' must be " + expected);
  }

  Result<void> outcome() const {
    if (problem_.empty()) return ok();
    return Error(ErrorCode::invalid_argument, problem_);
  }

  const toml::table& table() const { return table_; }

 private:
  const toml::node* find(std::string_view name) const { return table_.get(name); }

  void problem_at(const toml::node& node, const std::string& what) {
    if (!problem_.empty()) return;
    problem_ = path_ + ":" + std::to_string(node.source().begin.line) + ": " + what;
  }

  const std::string& path_;
  const toml::table& table_;
  std::string problem_;
};

bool is_host(std::string_view host) {
  return !host.empty() && host.size() <= 253 && host.front() != '.' && host.back() != '.' &&
         std::all_of(host.begin(), host.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == '_';
         });
}

Result<ModelEndpoint> read_endpoint(TableReader reader) {
  reader.allow_only({"host", "port", "api", "secret", "label"});
  ModelEndpoint endpoint;
  endpoint.host = reader.text("host", true);
  if (!is_host(endpoint.host)) reader.fail(reader.table(), "host", "a name in lower case");
  endpoint.port = static_cast<uint16_t>(reader.number("port", 1, 65535).value_or(443));
  endpoint.api = reader.text("api", true);
  if (endpoint.api != "anthropic" && endpoint.api != "openai" && endpoint.api != "gemini") {
    reader.fail(reader.table(), "api", "\"anthropic\", \"openai\" or \"gemini\"");
  }
  endpoint.secret = reader.text("secret", false);
  std::string label = reader.text("label", false);
  auto known = policy::label_from(label);
  if (!label.empty() && (!known || endpoint.secret.empty())) {
    // Without one a box's own key would say whose account gets the data.
    reader.fail(reader.table(), "label", known ? "together with 'secret'" : "a label");
  }
  endpoint.label = known.value_or(policy::Label::secret);
  HAKO_TRYV(reader.outcome());
  return endpoint;
}

Result<policy::ModelPrice> read_price(const std::string& name, TableReader reader) {
  reader.allow_only({"input", "cached", "cache_write", "cache_write_1h", "output", "context",
                     "max_output"});
  policy::ModelPrice price;
  price.model = name;
  if (!policy::is_model_pattern(name)) {
    reader.fail(reader.table(), name, "the name of a model, perhaps with '*' at its end");
  }
  price.input = reader.dollars("input", true).value_or(0);
  price.output = reader.dollars("output", true).value_or(0);
  // What is not said is not cheaper than the rest.
  price.cached = reader.dollars("cached", false).value_or(price.input);
  price.cache_write = reader.dollars("cache_write", false).value_or(price.input);
  price.cache_write_1h = reader.dollars("cache_write_1h", false).value_or(price.cache_write);
  price.context_tokens = reader.number("context", 1, kMostModelTokens);
  price.max_output_tokens = reader.number("max_output", 1, kMostModelTokens);
  HAKO_TRYV(reader.outcome());
  return price;
}

Result<void> read_endpoints(const std::string& path, TableReader& reader, Models& models) {
  const toml::node* node = reader.table().get("endpoint");
  if (!node) return ok();
  const toml::array* list = node->as_array();
  if (!list || list->size() > kMostEntries) {
    reader.fail(*node, "endpoint", "tables, each [[endpoint]]");
    return reader.outcome();
  }
  for (const toml::node& entry : *list) {
    const toml::table* table = entry.as_table();
    if (!table) {
      reader.fail(entry, "endpoint", "tables, each [[endpoint]]");
      return reader.outcome();
    }
    HAKO_TRY(auto endpoint, read_endpoint(TableReader(path, *table)));
    if (models.endpoint(endpoint.host, endpoint.port)) {
      reader.fail(entry, "host", "another one: " + endpoint.host + " is there twice");
      return reader.outcome();
    }
    models.endpoints.push_back(std::move(endpoint));
  }
  return ok();
}

Result<void> read_prices(const std::string& path, TableReader& reader, Models& models) {
  const toml::node* node = reader.table().get("price");
  if (!node) return ok();
  const toml::table* all = node->as_table();
  if (!all || all->size() > kMostEntries) {
    reader.fail(*node, "price", "tables, each [price.\"name\"]");
    return reader.outcome();
  }
  for (auto&& [key, entry] : *all) {
    const toml::table* table = entry.as_table();
    if (!table) {
      reader.fail(entry, key.str(), "a table");
      return reader.outcome();
    }
    HAKO_TRY(auto price, read_price(std::string(key.str()), TableReader(path, *table)));
    models.prices.push_back(std::move(price));
  }
  return ok();
}

}  // namespace

const ModelEndpoint* Models::endpoint(std::string_view host, uint16_t port) const {
  for (const ModelEndpoint& each : endpoints) {
    if (each.host == host && each.port == port) return &each;
  }
  return nullptr;
}

Result<Models> load_models(const std::string& path) {
  Models models;
  if (path.empty()) return models;
  auto content = read_file(path, kLargestModelsFile);
  if (!content) return content.error().with_context("models");
  toml::parse_result parsed = toml::parse(content.value(), std::string_view(path));
  if (!parsed) {
    return Error(ErrorCode::invalid_argument,
                 path + ":" + std::to_string(parsed.error().source().begin.line) +
                     ": not TOML: " + std::string(parsed.error().description()));
  }
  TableReader reader(path, parsed.table());
  reader.allow_only({"allow", "extras", "context_tokens", "max_output_tokens",
                     "reservation_minutes", "endpoint", "price"});
  if (auto allow = reader.texts("allow")) models.allow = std::move(*allow);
  for (const std::string& name : models.allow) {
    if (!policy::is_model_pattern(name)) {
      reader.fail(*parsed.table().get("allow"), "allow", "names of models");
    }
  }
  if (auto extras = reader.texts("extras")) models.extras = std::move(*extras);
  auto take = [&](std::string_view name, int64_t most, int64_t& into) {
    if (auto value = reader.number(name, 1, most)) into = *value;
  };
  take("context_tokens", kMostModelTokens, models.context_tokens);
  take("max_output_tokens", kMostModelTokens, models.max_output_tokens);
  take("reservation_minutes", 7 * 24 * 60, models.reservation_minutes);
  HAKO_TRYV(reader.outcome());
  HAKO_TRYV(read_endpoints(path, reader, models));
  HAKO_TRYV(read_prices(path, reader, models));
  return models;
}

}  // namespace hako::config
