#include "support/openapi_check.h"

#include <algorithm>
#include <cctype>

#include "api/openapi.h"
#include "api/router.h"
#include "api/template_files.h"
#include "base/clock.h"

namespace hako::test {
namespace json = boost::json;

namespace {

class Checker {
 public:
  explicit Checker(const json::value& document) : document_(document) {}

  void check(const json::value& schema_or_reference, const json::value& value, std::string where) {
    const json::object& schema = resolve(schema_or_reference).as_object();
    if (auto type = schema.if_contains("type"); type && !is_of_type(value, *type)) {
      return complain(where, "is " + json::serialize(value) + ", not " + json::serialize(*type));
    }
    if (auto allowed = schema.if_contains("enum")) {
      const json::array& list = allowed->as_array();
      if (std::find(list.begin(), list.end(), value) == list.end())
        complain(where, json::serialize(value) + " is not one of " + json::serialize(list));
    }
    if (auto format = schema.if_contains("format"); format && *format == "date-time") {
      if (!from_rfc3339(std::string(value.as_string()))) complain(where, "is no time");
    }
    if (const json::object* object = value.if_object()) check_object(schema, *object, where);
    if (const json::array* array = value.if_array()) {
      auto items = schema.if_contains("items");
      for (size_t i = 0; items && i < array->size(); ++i)
        check(*items, (*array)[i], where + "[" + std::to_string(i) + "]");
    }
  }

  std::string problems() const { return problems_; }
  const json::value& resolve(const json::value& value) const {
    auto reference = value.as_object().if_contains("$ref");
    if (!reference) return value;
    return document_.at_pointer(std::string(reference->as_string()).substr(1));
  }
  void complain(const std::string& where, const std::string& what) {
    problems_ += (problems_.empty() ? "" : "; ") + where + " " + what;
  }

 private:
  static bool is_of_type(const json::value& value, const json::value& type) {
    if (const json::array* several = type.if_array()) {
      return std::any_of(several->begin(), several->end(),
                         [&](const json::value& each) { return is_of_type(value, each); });
    }
    if (type == "object") return value.is_object();
    if (type == "array") return value.is_array();
    if (type == "string") return value.is_string();
    if (type == "boolean") return value.is_bool();
    if (type == "null") return value.is_null();
    if (type == "integer") return value.is_int64() || value.is_uint64();
    return type == "number" && value.is_number();
  }

  void check_object(const json::object& schema, const json::object& object,
                    const std::string& where) {
    if (auto required = schema.if_contains("required")) {
      for (const json::value& name : required->as_array()) {
        if (!object.contains(name.as_string())) complain(where, "lacks " + json::serialize(name));
      }
    }
    auto properties = schema.if_contains("properties");
    auto others = schema.if_contains("additionalProperties");
    for (const auto& member : object) {
      std::string inner = where + "." + std::string(member.key());
      auto named = properties ? properties->as_object().if_contains(member.key()) : nullptr;
      if (named)
        check(*named, member.value(), inner);
      else if (others)
        check(*others, member.value(), inner);
      else if (properties)
        complain(inner, "is not described");
    }
  }

  const json::value& document_;
  std::string problems_;
};

bool any_call_may_give(unsigned status) {
  return status == 401 || status == 404 || status == 408 || status == 413 || status == 431 ||
         status >= 500;
}

}  // namespace

std::string disagreement(http::Verb method, std::string_view path, unsigned status,
                         const json::value& body) {
  static const json::value document = json::parse(api::openapi_document());
  Checker checker(document);
  auto match = api::match_route(api::routes(), method, path);
  const json::value* described = nullptr;
  if (match.route) {
    auto name = boost::beast::http::to_string(method);
    std::string lower(name.data(), name.size());
    for (char& c : lower) c = char(std::tolower(static_cast<unsigned char>(c)));
    const json::value& operation =
        document.at("paths")
            .at({match.route->pattern.data(), match.route->pattern.size()})
            .at(lower);
    described = operation.at("responses").as_object().if_contains(std::to_string(status));
  } else if (method == http::Verb::put && path.starts_with(api::TemplateFiles::kPath)) {
    // Served beside the routes, as it is a stream.
    described = document.at("paths")
                    .at("/v1/template-files/{token}")
                    .at("put")
                    .at("responses")
                    .as_object()
                    .if_contains(std::to_string(status));
  }
  std::string where = std::to_string(status) + " body";
  if (!described) {
    bool error = any_call_may_give(status) || (!match.route && status == 405);
    if (!error) return "status " + std::to_string(status) + " is not described";
    checker.check(document.at_pointer("/components/schemas/Error"), body, where);
    return checker.problems();
  }
  const json::value& response = checker.resolve(*described);
  auto content = response.as_object().if_contains("content");
  if (!content) return body.is_null() ? "" : "a body where none is described";
  checker.check(content->at("application/json").at("schema"), body, where);
  return checker.problems();
}

}  // namespace hako::test
