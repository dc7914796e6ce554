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

# What that kernel has as modules and the tests need; the first is loaded before the root is mounted, the others are
# for udev and modprobe.
disk_modules=(virtio_blk)
more_modules=(virtio_net button evdev dm_mod raid1 loop overlay veth bridge)

# Made once for each kernel: `lay`, busybox and the modules.
make_debian_initramfs() { # KERNEL
    local version=${1##*/vmlinuz-} package=${1%/boot/*} work
    made=$root/target/vm
    debian_initramfs=$made/initramfs-$version
    [ "$debian_initramfs" -nt "$here/lay" ] && [ "$debian_initramfs" -nt "$here/machine.sh" ] && return
    mkdir -p "$made"
    work=$(mktemp -d "$made/make.XXXXXX")
    mkdir -p "$work"/{bin,dev,proc,root} "$work/lib/modules/$version"
    cp "$here/lay" "$work/init"
    cp "$(command -v busybox)" "$work/bin/busybox"
    local PATH=$PATH:/sbin:/usr/sbin modules=$package/lib/modules/$version
    [ -e "$modules/modules.dep" ] || depmod -b "$package" "$version"
    cp "$modules"/modules.{builtin,builtin.modinfo,order} "$work/lib/modules/$version/"
    local name path
    for name in "${disk_modules[@]}" "${more_modules[@]}"; do
        modprobe -d "$package" -S "$version" --show-depends "$name" | while read -r _ path _; do
            [ -e "$path" ] || continue # built in
            path=${path#"$package"}
            mkdir -p "$work${path%/*}"
            xz -dc "$package$path" >"$work${path%.xz}"
            case " ${disk_modules[*]} " in *" $name "*) echo "${path%.xz}" >>"$work/modules" ;; esac
        done
    done
    depmod -b "$work" "$version"
    (cd "$work" && find . | cpio -o -H newc -R 0:0 --quiet) >"$work.cpio"
    mv "$work.cpio" "$debian_initramfs"
    rm -r "$work"
}

# Processes of the guest are processes here: one that began while the kernel was killed would stay, stopped for ever.
end_all() {
    while pkill -KILL -f "uml_dir=$state( |\$)"; do :; done
}
