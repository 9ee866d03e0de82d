# The guest kernel: Debian's stock one, taken apart and never installed. Needs apt.sh.

# fetch_kernel DIRECTORY: makes vmlinux, version and modules/ (the tree as packaged) in it.
fetch_kernel() {
  local out=$1 package deb version
  package=$(with_package_lists kernel_package) || die "apt knows no linux-image-amd64"
  step "kernel: downloading $package"
  deb=$(download_package "$package" "$out")
  version=${package#linux-image-}
  step "kernel: unpacking"
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$out" \
    --exclude='*/drivers/gpu' --exclude='*/drivers/media' --exclude='*/drivers/infiniband' \
    --exclude='*/net/wireless' --exclude='*/net/ethernet' --exclude='*/sound' \
    ./boot ./lib/modules
  rm -f -- "$deb"
  extract_vmlinux "$out/boot/vmlinuz-$version" "$out/vmlinux"
  mv -- "$out/lib/modules/$version" "$out/modules"
  printf '%s\n' "$version" >"$out/version"
  rm -rf -- "$out/boot" "$out/lib"
}

# kernel_package: the name of the package that linux-image-amd64 stands for today.
kernel_package() {
  local name
  name=$(apt-cache show --no-all-versions linux-image-amd64 |
    sed -n 's/^Depends: \(linux-image-[^ ,]*-amd64\).*/\1/p')
  [[ -n $name ]] && printf '%s\n' "$name"
}

# le_number FILE OFFSET BYTES: a little-endian number.
le_number() { od -An -tu"$3" -j "$2" -N "$3" --endian=little -- "$1" | tr -d ' \n'; }

# extract_vmlinux BZIMAGE OUT: the compressed payload is found through the boot protocol's header
# (2.08 and later): no searching, no guessing where it ends.
extract_vmlinux() {
  local image=$1 out=$2 sectors start length magic
  [[ $(dd if="$image" bs=1 skip=$((0x202)) count=4 status=none) == HdrS ]] ||
    die "$image is not a Linux boot image"
  sectors=$(le_number "$image" $((0x1f1)) 1)
  start=$(((sectors + 1) * 512 + $(le_number "$image" $((0x248)) 4)))
  length=$(le_number "$image" $((0x24c)) 4)
  magic=$(od -An -tx1 -j "$start" -N 4 "$image" | tr -d ' \n')
  local unpack
  case $magic in
    02214c18) unpack=(lz4 -dc) ;;
    fd377a58) unpack=(xz -dc) ;;
    28b52ffd) unpack=(zstd -dc) ;;
    1f8b*) unpack=(gzip -dc) ;;
    *) die "kernel payload of an unknown kind ($magic)" ;;
  esac
  # The last four bytes of the payload are its unpacked size, not part of the compressed stream.
  dd if="$image" bs=1M iflag=skip_bytes,count_bytes skip="$start" count=$((length - 4)) \
    status=none | "${unpack[@]}" >"$out" ||
    die "cannot unpack the kernel"
  [[ $(stat -c %s "$out") == "$(le_number "$image" $((start + length - 4)) 4)" ]] ||
    die "the unpacked kernel has the wrong size"
}
