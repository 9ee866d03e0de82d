# Fetching Debian packages without installing them. Needs common.sh.

# As root, apt drops to a user that cannot write to our folders; it only fetches here.
apt_get() { apt-get -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 "$@"; }

# with_package_lists COMMAND...: runs it; where it fails, refreshes the package lists (which a bare
# machine does not have, and which age) and runs it once more.
with_package_lists() {
  "$@" 2>/dev/null && return
  apt_get -qq update || die "apt-get update failed: is there a network, and are the sources right?"
  "$@"
}

# download_package NAME DIRECTORY: prints the path of the .deb.
download_package() {
  local deb
  (cd -- "$2" && with_package_lists apt_get -qq download "$1" >/dev/null) ||
    die "cannot download the package $1"
  deb=$(find "$2" -maxdepth 1 -name "${1}_*.deb" -print -quit)
  [[ -n $deb ]] || die "apt-get download $1 left no file"
  printf '%s\n' "$deb"
}

# debian_sources: the Debian 12 archives that this machine's apt uses, as sources.list lines.
debian_sources() {
  local lines
  lines=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' \
    'Created-By: Packages' 'Component: main' 'Origin: Debian' 2>/dev/null |
    awk '$2 ~ /^bookworm(-updates|-security)?$/ { print "deb", $1, $2, "main" }' | sort -u) || true
  if ! grep -q ' bookworm main$' <<<"$lines"; then
    lines=$(box_sources)
  fi
  printf '%s\n' "$lines"
}

# box_sources: what /etc/apt/sources.list says inside an image, wherever it was built.
box_sources() {
  printf 'deb http://deb.debian.org/%s main\n' \
    'debian bookworm' 'debian bookworm-updates' 'debian-security bookworm-security'
}
