/* launch SECONDS COMMAND [ARGUMENT…] : runs a machine, user-mode Linux or qemu, and ends with its status; 124 when it
 * still ran after SECONDS (0: no limit). SIGTERM, SIGINT and SIGHUP cut its power: 137.
 *
 * Processes of a user-mode Linux's guest are processes of this machine that the kernel traces. Where the kernel is
 * killed first they are let go, and go on as ordinary processes here: their next write, umount(2), kill(-1) or reboot(2)
 * is one of this machine's. So the kernel is stopped, then they are ended, and it last. What began meanwhile has this
 * process as its parent then.
 *
 * On processors that it does not know yet user-mode Linux needs a filter. It keeps a process's vector registers in a buffer of 2,696 bytes, and where the processor has more
 * state than that (AMX: 11,008) the host refuses to take them back: every process of the guest dies at
 * once. Here a filter then hides the extended state, so that UML handles the SSE registers only, by
 * PTRACE_{GET,SET}FPREGS. The wider halves stay with the host process, that is with the guest process:
 * only threads of one process can mix them up, which `run` makes unlikely by telling glibc to leave AVX. */
#include <cpuid.h>
#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { UML_BUFFER = 2696, FAILED = 125, TIMED_OUT = 124, CUT = 128 + SIGKILL };

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

/* 0 where PID is gone. */
static pid_t parent_of(pid_t pid)
{
    char path[64], stat[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    size_t length = file ? fread(stat, 1, sizeof stat - 1, file) : 0;
    if (file)
        fclose(file);
    stat[length] = 0;
    /* The name before it may hold anything. */
    const char *name_end = strrchr(stat, ')');
    int parent;
    return name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

static void kill_children(pid_t parent)
{
    DIR *processes = opendir("/proc");
    const struct dirent *entry;
    while (processes && (entry = readdir(processes))) {
        pid_t pid = isdigit((unsigned char)*entry->d_name) ? atoi(entry->d_name) : 0;
        if (pid && parent_of(pid) == parent)
            kill(pid, SIGKILL);
    }
    if (processes)
        closedir(processes);
}

/* What the machine left; new ones of a process that is killed come to us too. */
static void end_rest(void)
{
    do
        kill_children(getpid());
    while (wait(NULL) > 0 || errno != ECHILD);
}

/* Nobody is let go while their tracer stands still, and nobody new begins. */
static void cut(pid_t machine)
{
    int status;
    if (kill(machine, SIGSTOP) == 0 && waitpid(machine, &status, WUNTRACED) == machine && WIFSTOPPED(status)) {
        kill_children(machine);
        kill(machine, SIGKILL);
    }
    end_rest();
}

static void become(char **command)
{
    if (extended_state_size() > UML_BUFFER && hide_extended_state()) {
        perror("launch: seccomp");
        _exit(FAILED);
    }
    /* It makes itself the leader of a session, so nobody who kills the caller's group reaches it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) {
        perror("launch: death signal");
        _exit(FAILED);
    }
    execvp(*command, command);
    perror(*command);
    _exit(FAILED);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    sigset_t heard, before;
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGINT);
    sigaddset(&heard, SIGHUP);
    sigaddset(&heard, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &heard, &before) || prctl(PR_SET_CHILD_SUBREAPER, 1) ||
        prctl(PR_SET_PDEATHSIG, SIGTERM)) {
        perror("launch");
        return FAILED;
    }
    pid_t machine = fork();
    if (machine < 0) {
        perror("launch: fork");
        return FAILED;
    }
    if (machine == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        become(argv + 2);
    }
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    time_t limit = atol(argv[1]);
    end.tv_sec += limit;
    for (;;) {
        struct timespec now, left = {.tv_sec = 3600};
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (limit > 0) {
            left.tv_sec = end.tv_sec - now.tv_sec;
            left.tv_nsec = end.tv_nsec - now.tv_nsec;
            if (left.tv_nsec < 0) {
                left.tv_sec -= 1;
                left.tv_nsec += 1000000000;
            }
            if (left.tv_sec < 0) {
                cut(machine);
                return TIMED_OUT;
            }
        }
        int signal = sigtimedwait(&heard, NULL, &left), status;
        if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP) {
            cut(machine);
            return CUT;
        }
        pid_t ended;
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0 && ended != machine)
            ;
        if (ended == machine) {
            end_rest();
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}
