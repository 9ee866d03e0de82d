# Shared by the scripts in this folder: messages, checks, the package lists.
# Sourced, never run. The sourcing script sets `set -Eeuo pipefail` itself.

hako_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
hako_image_dir=${HAKO_IMAGE_DIR:-/var/cache/hako/images}

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  c_bold=$'\e[1m' c_dim=$'\e[2m' c_red=$'\e[31m' c_green=$'\e[32m' c_off=$'\e[0m'
else
  c_bold='' c_dim='' c_red='' c_green='' c_off=''
fi

# The start of the outermost script, so that nested scripts count from the same moment.
export HAKO_STARTED=${HAKO_STARTED:-$EPOCHREALTIME}

# elapsed: seconds since the start, one decimal.
elapsed() {
  local now=${EPOCHREALTIME/[.,]/} start=${HAKO_STARTED/[.,]/}
  local tenths=$(((now - start) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# step TEXT...: one progress line.
step() { printf '%s[%6ss]%s %s\n' "$c_dim" "$(elapsed)" "$c_off" "$*"; }
good() { printf '%s[%6ss]%s %s%s%s\n' "$c_dim" "$(elapsed)" "$c_off" "$c_green" "$*" "$c_off"; }
warn() { printf '%swarning:%s %s\n' "$c_bold" "$c_off" "$*" >&2; }
# die TEXT...: the script's last words.
die() {
  printf '%serror:%s %s\n' "$c_red" "$c_off" "$*" >&2
  exit 1
}

# No script ends without a word.
trap 'printf "%serror:%s %s line %d: \"%s\" failed\n" "$c_red" "$c_off" "${BASH_SOURCE[0]##*/}" \
  "$LINENO" "${BASH_COMMAND%%$'"'\\n'"'*}" >&2' ERR

need_root() { ((EUID == 0)) || die "run this as root (it makes file systems and namespaces)"; }

# need_tools TOOL=PACKAGE...: says all that is missing at once.
need_tools() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  ((${#missing[@]} == 0)) || die "missing packages: ${missing[*]}
  install them with: scripts/setup"
}

# need_space DIRECTORY MIB: fails early and plainly instead of half-way.
need_space() {
  local free
  free=$(df --output=avail -m -- "$1" | tail -n 1)
  ((free >= $2)) || die "$1 has ${free} MiB free, this needs $2 MiB"
}

# packages SECTION...: the Debian packages listed under [SECTION] in packages.txt.
packages() {
  local section
  for section in "$@"; do
    awk -v want="[$section]" '
      /^\[/ { inside = ($1 == want); found = found || inside; next }
      { sub(/#.*/, "") }
      inside { for (i = 1; i <= NF; i++) print $i }
      END { if (!found) exit 1 }' "$hako_root/scripts/packages.txt" ||
      die "packages.txt has no section [$section]"
  done
}

# hash_of FILE-OR-TEXT...: one SHA-256 over files (their content) and other arguments (their text).
hash_of() {
  local input
  for input in "$@"; do
    if [[ -f $input ]]; then sha256sum <"$input"; else printf '%s\n' "$input"; fi
  done | sha256sum | cut -d' ' -f1
}

# with_progress COMMAND...: runs ninja, whose lines start with what is done of how many; says a line
# now and then and passes everything else through (warnings, errors).
with_progress() {
  local line next=0
  "$@" 2>&1 | while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\]\  ]]; then
      if ((SECONDS >= next || BASH_REMATCH[1] == BASH_REMATCH[2])); then
        step "built ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]}"
        next=$((SECONDS + 5))
      fi
    elif [[ $line != 'ninja: '@(Entering|no work)* ]]; then
      printf '%s\n' "$line"
    fi
  done
}

# build_jobs: as many compilers as there are processors, but no more than memory carries.
build_jobs() {
  awk -v jobs="$(nproc)" '$1 == "MemAvailable:" {
    fit = int($2 / 1048576 / 1.2)
    print fit < 1 ? 1 : (fit < jobs ? fit : jobs) }' /proc/meminfo
}

# The preset that configure and build are for; its tree is build/$hako_preset.
hako_preset=release

# configure OPTION...: the build tree, with these cache settings.
configure() {
  local log=$hako_root/build/configure-$hako_preset.log
  mkdir -p -- "${log%/*}"
  (cd -- "$hako_root" && cmake --preset "$hako_preset" "$@" >"$log" 2>&1) || {
    tail -n 30 -- "$log" >&2
    die "cmake failed (the end of its output is above)"
  }
}

# build TARGET...
build() {
  with_progress cmake --build "$hako_root/build/$hako_preset" -j "$(build_jobs)" --target "$@" ||
    die "the build failed"
}

# need_tun: a bare chroot may lack the node; the driver itself is the kernel's.
need_tun() {
  [[ -c /dev/net/tun ]] && return
  mkdir -p /dev/net && mknod -m 0666 /dev/net/tun c 10 200 ||
    die "there is no /dev/net/tun and it cannot be made"
}
