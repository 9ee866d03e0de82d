# Which kernel modules go into an initramfs, with all they depend on, in load order.

# Roots of what a box loads; their dependencies are found by themselves. crc32c comes first: erofs
# and ext4 ask the crypto layer for it by name, so no dependency shows it.
guest_modules=(crc32c_generic crc32c-intel virtio_mmio virtio_blk virtio_net virtio_console
  virtio-rng overlay erofs ext4 tcp_diag)
# The same for the machine in which tests run real KVM.
outer_modules=("${guest_modules[@]}" virtio_pci kvm-amd tun
  nf_tables nft_chain_nat nft_ct nft_limit nft_reject_inet nft_tproxy)

# collect_modules TREE OUT NAME...: copies the named modules and all they depend on from a packaged
# module tree into the flat folder OUT, with OUT/order naming the files in load order.
collect_modules() {
  local tree=$1 out=$2 name
  shift 2
  mkdir -p -- "$out"
  : >"$out/order"
  declare -gA module_path=() module_done=()
  # A file may be spelled with dashes; the names in dependencies have underscores.
  while IFS= read -r name; do
    local base=${name##*/}
    base=${base%.ko}
    module_path[${base//-/_}]=$name
  done < <(find "$tree" -name '*.ko')
  for name in "$@"; do
    add_module "$tree" "$out" "${name//-/_}"
  done
}

# add_module TREE OUT NAME: dependencies first.
add_module() {
  local tree=$1 out=$2 name=$3 path dependency
  [[ -z ${module_done[$name]:-} ]] || return 0
  module_done[$name]=1
  path=${module_path[$name]:-}
  if [[ -z $path ]]; then
    grep -q "/${name//_/[-_]}\.ko$" "$tree/modules.builtin" && return 0
    die "the kernel package has no module $name"
  fi
  for dependency in $(modinfo -F depends "$path" | tr ',-' ' _'); do
    add_module "$tree" "$out" "$dependency"
  done
  cp -- "$path" "$out/"
  printf '%s\n' "${path##*/}" >>"$out/order"
}
