// Which of all sandboxes and templates exist for whoever asks. Pure.
#pragma once

#include "api/principal.h"
#include "policy/permission.h"
#include "store/store.h"

namespace hako::api {

policy::BoxFacts facts_of(const store::SandboxRecord& record);
policy::TemplateFacts facts_of(const store::TemplateRecord& record);

/// Whether the sandbox exists for `who`. What they may do with it the route has asked already.
bool may_see(const Principal& who, const store::SandboxRecord& record, int64_t now_ms);

/// Leaves in `query` what exists for `who`.
void narrow(store::SandboxQuery& query, const Principal& who);

/// The labels of all that exists for `who`, as the store has them.
std::vector<std::string> visible_labels(const Principal& who);

/// Size and life of a sandbox that `who` makes, or gives another end: against every layer.
/// Rules: "<layer>.ttl".
policy::Decision may_live(const Principal& who, int64_t ttl_s);

}  // namespace hako::api
