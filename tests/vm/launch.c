/* launch KERNEL [ARGUMENT…] : starts user-mode Linux on processors that it does not know yet.
 *
 * It keeps a process's vector registers in a buffer of 2,696 bytes, and where the processor has more
 * state than that (AMX: 11,008) the host refuses to take them back: every process of the guest dies at
 * once. Here a filter then hides the extended state, so that UML handles the SSE registers only, by
 * PTRACE_{GET,SET}FPREGS. The wider halves stay with the host process, that is with the guest process:
 * only threads of one process can mix them up, which `run` makes unlikely by telling glibc to leave AVX. */
#include <cpuid.h>
#include <elf.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { UML_BUFFER = 2696 };

static unsigned extended_state_size(void)
{
    unsigned a, b = 0, c, d;
    return __get_cpuid_count(0xd, 0, &a, &b, &c, &d) ? b : 0;
}

static int hide_extended_state(void)
{
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
    struct sock_filter code[] = {
        LOAD(arch),    IS(AUDIT_ARCH_X86_64, 0, 7),
        LOAD(nr),      IS(SYS_ptrace, 0, 5),
        LOAD(args[0]), IS(PTRACE_GETREGSET, 1, 0),
        IS(PTRACE_SETREGSET, 0, 2),
        LOAD(args[2]), IS(NT_X86_XSTATE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 22 /* EINVAL */),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    if (extended_state_size() > UML_BUFFER && hide_extended_state()) {
        perror("launch: seccomp");
        return 125;
    }
    /* It makes itself the leader of a session, so nobody who kills the caller's group reaches it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) {
        perror("launch: death signal");
        return 125;
    }
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 125;
}
