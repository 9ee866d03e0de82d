// What a C library hands out, owned.
#pragma once

#include <memory>

namespace hako {

template <auto release>
struct Release {
  template <class T>
  void operator()(T* held) const {
    release(held);
  }
};

/// Ends what it holds with `release`, a function of the library that made it.
template <class T, auto release>
using Held = std::unique_ptr<T, Release<release>>;

}  // namespace hako
