// Programs that a template build runs in the machine. All values come as arguments: nothing of a
// user's is ever part of a script's text.
#pragma once

#include <string_view>

namespace hako::api {

/// $1 archive, $2 source in it, $3 target, $4 owner "user:group", $5 mode or "", $6 directory that
/// a relative target is seen from. Runs as root with the image's own tar.
inline constexpr std::string_view kCopyScript = R"sh(set -eu
archive=$1 source=$2 target=$3 owner=$4 mode=$5
case $target in /*) ;; *) target=$6/$target ;; esac
unpacked=$(mktemp -d /tmp/.copy-XXXXXX)
trap 'rm -rf "$unpacked" "$archive"' EXIT
if tar --version 2>/dev/null | grep -q GNU; then gnu=yes; else gnu=no; fi
tar -xf "$archive" -C "$unpacked"
from=$unpacked/$source
make_folder() {
  [ -d "$1" ] && return
  make_folder "$(dirname "$1")"
  mkdir "$1"
  chown "$owner" "$1"
}
if [ ! -e "$from" ] && [ ! -L "$from" ]; then
  echo "the uploaded files hold no $source" >&2
  exit 1
fi
chown -hR "$owner" "$from"
[ -z "$mode" ] || chmod -R "$mode" "$from"
if [ -d "$from" ] && [ ! -L "$from" ]; then
  make_folder "$target"
  if [ $gnu = yes ]; then
    tar -C "$from" -cf - . | tar -C "$target" --no-overwrite-dir -xpf -
  else
    find "$from" -mindepth 1 -maxdepth 1 -exec cp -a {} "$target/" \;
  fi
else
  case $target in */) make_folder "${target%/}" ;; esac
  [ ! -d "$target" ] || target=${target%/}/$(basename "$from")
  make_folder "$(dirname "$target")"
  mv -f "$from" "$target"
fi
)sh";

/// $1 directory, $2 owner of it if it is new.
inline constexpr std::string_view kWorkdirScript = R"sh(set -eu
[ -d "$1" ] || { mkdir -p "$1" && chown "$2" "$1"; }
)sh";

/// $1 user, made if there is none; $2 "true": may become root.
inline constexpr std::string_view kUserScript = R"sh(set -eu
if ! id -u "$1" >/dev/null 2>&1; then
  if command -v useradd >/dev/null 2>&1; then
    if [ -x /bin/bash ]; then shell=/bin/bash; else shell=/bin/sh; fi
    useradd --create-home --shell "$shell" -- "$1"
  else
    adduser -D -- "$1"
  fi
fi
if [ "$2" = true ] && [ -d /etc/sudoers.d ]; then
  printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$1" >"/etc/sudoers.d/$1"
  chmod 0440 "/etc/sudoers.d/$1"
fi
)sh";

}  // namespace hako::api
