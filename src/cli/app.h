// The command line as a whole.
#pragma once

namespace hako::cli {

/// Parses the arguments and runs the command they name. Returns the exit status.
int run(int argc, char** argv);

}  // namespace hako::cli
