# Sourced by `run` and `boot`: where the kernels are, and what starts them.

find_kernel() {
    local candidate
    for candidate in "${HERD_UML:-}" "${XDG_CACHE_HOME:-$HOME/.cache}/herd/linux-uml" \
        "$root/../shared/vm/linux-uml" "$root/../../shared/vm/linux-uml" /usr/bin/linux.uml; do
        [ -n "$candidate" ] && [ -x "$candidate" ] && { echo "$candidate"; return; }
    done
    echo "vm: no user-mode Linux kernel; 'tests/setup vm' installs one, 'tests/vm/build-kernel' makes a fuller one" >&2
    exit 125
}

# Both made once: the initramfs, which is init alone, and the program that starts the kernel.
make_parts() {
    made=$root/target/vm
    if [ ! "$made/initramfs" -nt "$here/init.c" ] || [ ! "$made/launch" -nt "$here/launch.c" ]; then
        mkdir -p "$made"
        local work
        work=$(mktemp -d "$made/make.XXXXXX")
        cc -O2 -static -Wall -Wextra -o "$work/init" "$here/init.c"
        cc -O2 -static -Wall -Wextra -o "$work/launch" "$here/launch.c"
        (cd "$work" && echo init | cpio -o -H newc --quiet >initramfs)
        mv "$work/initramfs" "$work/launch" "$made/"
        rm -r "$work"
    fi
}

# For programs of the guest; see launch.c.
no_avx=GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load

# Debian's own kernel, for qemu: `tests/setup qemu` leaves its package unpacked there.
find_debian_kernel() {
    local boot
    for boot in "${XDG_CACHE_HOME:-$HOME/.cache}"/herd/linux-cloud/boot/vmlinuz-*; do
        [ -r "$boot" ] && { echo "$boot"; return; }
    done
    echo "vm: no Debian kernel; 'tests/setup qemu' fetches one" >&2
    exit 125
}

# What a kernel has as modules and the tests need; the first is loaded before the root is mounted, the others are
# for udev and modprobe.
disk_modules=(virtio_blk)
more_modules=(virtio_net button evdev dm_mod raid1 loop overlay veth bridge)
# Of Debian's user-mode Linux, whose disks are built in. All are loaded at once: the modprobe that its kernel starts
# hears nothing of $no_avx.
uml_modules=(ipv6 dummy veth tun bridge loop fuse overlay)

# Made once for each kernel: `lay`, busybox and the modules below BASE/lib/modules; the first FIRST of these are
# loaded by `lay`.
make_module_initramfs() { # BASE VERSION FIRST MODULE…
    local base=$1 version=$2 first=$3 work
    shift 3
    made=$root/target/vm
    module_initramfs=$made/initramfs-$version
    [ "$module_initramfs" -nt "$here/lay" ] && [ "$module_initramfs" -nt "$here/machine.sh" ] && return
    mkdir -p "$made"
    work=$(mktemp -d "$made/make.XXXXXX")
    mkdir -p "$work"/{bin,dev,proc,root} "$work/lib/modules/$version"
    cp "$here/lay" "$work/init"
    cp "$(command -v busybox)" "$work/bin/busybox"
    local PATH=$PATH:/sbin:/usr/sbin modules=$base/lib/modules/$version
    [ -e "$modules/modules.dep" ] || depmod -b "$base" "$version"
    local name path number=0
    for name in builtin builtin.modinfo order; do
        [ ! -e "$modules/modules.$name" ] || cp "$modules/modules.$name" "$work/lib/modules/$version/"
    done
    for name in "$@"; do
        number=$((number + 1))
        modprobe -d "$base" -S "$version" --show-depends "$name" | while read -r _ path _; do
            [ -e "$path" ] || continue # built in
            path=${path#"$base"}
            mkdir -p "$work${path%/*}"
            case $path in
            *.xz) xz -dc "$base$path" >"$work${path%.xz}" ;;
            *) cp "$base$path" "$work$path" ;;
            esac
            [ "$number" -gt "$first" ] || grep -qsxF "${path%.xz}" "$work/modules" || echo "${path%.xz}" >>"$work/modules"
        done
    done
    depmod -b "$work" "$version"
    (cd "$work" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work.cpio"
    mv "$work.cpio" "$module_initramfs"
    rm -r "$work"
}

# Where KERNEL is a user-mode Linux with modules, as Debian's is, an initramfs that has them; '' for any other.
make_uml_initramfs() { # KERNEL
    local version base
    module_initramfs=
    version=$("$1" --version)
    [ -d "/usr/lib/uml/modules/$version" ] || return 0
    base=$root/target/vm/uml-$version
    mkdir -p "$base/lib/modules"
    [ -e "$base/lib/modules/$version" ] || ln -sfn "/usr/lib/uml/modules/$version" "$base/lib/modules/$version"
    make_module_initramfs "$base" "$version" ${#uml_modules[@]} "${uml_modules[@]}"
}
