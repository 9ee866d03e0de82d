// What makes a copy of a machine another machine, piece by piece: so that a test can take one away
// and see that it was needed.
#pragma once

#include <string_view>

namespace hako::guest {

enum class Remedy {
  freeze,       ///< no program moves while the machine is copied
  reseed,       ///< the kernel's random generator takes the fresh entropy
  clock,        ///< the wall clock is set
  names,        ///< host name, machine id and boot id
  connections,  ///< those from before are cut
  generation,   ///< programs are told
};

/// Whether the operator has booted this machine without it, by "hako.test_skip_<remedy>=1" on the
/// kernel's command line. Nobody inside the machine, and no message to it, can set that.
bool is_taken_out(Remedy remedy);

/// Whether `word` is one of the words of a command line. Pure.
bool has_word(std::string_view line, std::string_view word);

}  // namespace hako::guest
