// Uploads that say how confidential what they bring is. Pure.
#pragma once

#include <optional>

#include "http/message.h"
#include "policy/label.h"

namespace hako::api {

inline constexpr std::string_view kLabelHeader = "X-Hako-Label";

struct UploadLabel {
  std::string box;
  policy::Label label = policy::Label::public_data;
};

/// Takes the label (kLabelHeader, or `label` in the query of POST /files) out of a request for a
/// box; nothing if there is none. invalid_argument: no label of ours, not an upload, or no box
/// named.
Result<std::optional<UploadLabel>> take_upload_label(http::RequestHead& head);

}  // namespace hako::api
