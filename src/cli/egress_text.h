// What the commands about egress read and print. Pure.
#pragma once

#include <boost/json.hpp>

#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/options.h"

namespace hako::cli {

/// "NAME:PORT", "192.0.2.1:PORT" or "[2001:db8::1]:PORT" as the API wants it.
Result<boost::json::object> destination_json(std::string_view text);

/// Puts what was asked for into the body of a request.
void put_confinement(boost::json::object& body, const Confinement& confinement);

/// A decision in a line or two.
std::string decision_text(const boost::json::value& decision, bool allowed);
/// A record of the egress log in one line, whatever a box has put into it.
std::string record_line(const boost::json::value& record);

}  // namespace hako::cli
