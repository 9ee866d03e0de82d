# Root file systems: Debian by mmdebstrap, cleaned, packed as uncompressed erofs. Needs apt.sh.

# A fixed UUID: two builds of the same packages are the same bytes.
rootfs_uuid=6861b000-0000-4000-8000-68616b6f0001

# bootstrap_debian TREE PACKAGE...: a minimal Debian 12 with these packages and no papers.
bootstrap_debian() {
  local tree=$1 proxy options=()
  shift
  local IFS=,
  proxy=$(apt-config shell v Acquire::http::Proxy | sed "s/^v='\(.*\)'$/\1/")
  [[ -z $proxy ]] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
  debian_sources >"$tree.list"
  mmdebstrap --mode=root --variant=minbase --format=directory \
    --skip=output/dev --include="$*" "${options[@]}" \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/lintian/*' --dpkgopt='path-exclude=/usr/share/bug/*' \
    --dpkgopt=force-unsafe-io \
    bookworm "$tree" "$tree.list" >"$tree.log" 2>&1 || {
    tail -n 20 -- "$tree.log" >&2
    die "mmdebstrap failed (the end of its log is above)"
  }
}

# neutral_system TREE: takes out what is particular to this machine or to this build.
neutral_system() {
  local tree=$1
  box_sources >"$tree/etc/apt/sources.list"
  rm -f -- "$tree"/etc/apt/apt.conf.d/99mmdebstrap "$tree"/etc/apt/sources.list.d/* \
    "$tree"/etc/ssh/ssh_host_* "$tree"/var/lib/systemd/random-seed "$tree"/etc/.pwd.lock \
    "$tree"/{etc,var/lib/dbus}/machine-id "$tree"/etc/{resolv.conf,hostname}
  rm -rf -- "$tree"/var/lib/apt/lists/* "$tree"/var/cache/{apt,debconf,ldconfig}/* \
    "$tree"/var/log/* "$tree"/tmp/* "$tree"/run/* "$tree"/var/tmp/*
  find "$tree/var/lib/dpkg" -name '*-old' -delete
  : >"$tree/etc/machine-id"
  printf '# no name server: this box has no network\n' >"$tree/etc/resolv.conf"
  printf 'hako\n' >"$tree/etc/hostname"
  printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n' >"$tree/etc/hosts"
  mkdir -p -- "$tree"/{proc,sys,dev,run,tmp,mnt}
  chmod 1777 -- "$tree/tmp" "$tree/var/tmp"
  # The day of a password's last change would be the day of the build.
  sed -i -E 's/^([^:]*:[^:]*):[0-9]*:/\1:19000:/' "$tree/etc/shadow"
}

# furnish_box TREE: what an agent finds: a user of its own, sudo, python by its short name.
furnish_box() {
  local tree=$1
  chroot "$tree" useradd --uid 1000 --user-group --create-home --shell /bin/bash user
  printf 'user ALL=(ALL:ALL) NOPASSWD: ALL\n' >"$tree/etc/sudoers.d/user"
  chmod 0440 -- "$tree/etc/sudoers.d/user"
  ln -s python3 "$tree/usr/bin/python"
  printf 'LANG=C.UTF-8\n' | tee "$tree/etc/default/locale" >"$tree/etc/environment"
  ln -sf /usr/share/zoneinfo/Etc/UTC "$tree/etc/localtime"
}

# pack_erofs TREE OUT: uncompressed, so that pages are read straight from the page cache.
# What the build itself wrote gets the time of the newest packaged Python file. The others keep
# theirs: Python's compiled files name their sources by time, and starting without them is slow.
pack_erofs() {
  local epoch
  epoch=$(find "$1/usr/lib" -path "$1/usr/lib/python3*" -name '*.py' -printf '%Ts\n' |
    sort -n | tail -n 1)
  SOURCE_DATE_EPOCH=${epoch:-$SOURCE_DATE_EPOCH} mkfs.erofs --quiet -x-1 --preserve-mtime \
    -U"$rootfs_uuid" "$2" "$1" >/dev/null 2>"$2.log" || {
    tail -n 5 -- "$2.log" >&2
    die "mkfs.erofs failed (is the disk full?)"
  }
  rm -f -- "$2.log"
}
