#include "cli/app.h"

int main(int argc, char** argv) {
  return hako::cli::run(argc, argv);
}
