# Sourced by `run` and `boot`: where the kernel is, and what starts it.

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

# Processes of the guest are processes here: one that began while the kernel was killed would stay, stopped for ever.
end_all() {
    while pkill -KILL -f "uml_dir=$state( |\$)"; do :; done
}
