// floor FLAGS ROOT PROGRAM [ARGUMENT]… : one box, by no more system calls than it takes.
// floor serve FLAGS ROOT PROGRAM [ARGUMENT]… : one for each byte on standard input; answers
//     "blocked executed wall cpu" in seconds. PROGRAM writes its stamp to standard output (true.c).
//
// FLAGS: m mount, p pid, i ipc, u uts, c cgroup, n net with lo up, U user namespace; - none at all.
// With m: ROOT read-only as /, a new proc, a tmpfs on /dev with six of the host's nodes and five links,
// devpts, a tmpfs on /tmp, one pivot_root. No process stays beside the program, which is PID 1.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned long flags;
static const char *root;
static char **program;

static void must(int answer, const char *what)
{
    if (answer >= 0)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static void file_system(void)
{
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    static const char *const links[][2] = {
        {"/proc/self/fd", "/mnt/dev/fd"}, {"/proc/self/fd/0", "/mnt/dev/stdin"},
        {"/proc/self/fd/1", "/mnt/dev/stdout"}, {"/proc/self/fd/2", "/mnt/dev/stderr"},
        {"pts/ptmx", "/mnt/dev/ptmx"},
    };
    must(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0), "private");
    must(mount(root, "/mnt", 0, MS_BIND | MS_REC, 0), "bind");
    must(mount(0, "/mnt", 0, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID, 0), "read-only");
    must(mount("proc", "/mnt/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0), "proc");
    must(mount("tmpfs", "/mnt/dev", "tmpfs", MS_NOSUID, "mode=0755"), "dev");
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        char from[64], to[64];
        snprintf(from, sizeof from, "/dev/%s", nodes[i]);
        snprintf(to, sizeof to, "/mnt/dev/%s", nodes[i]);
        int file = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
        must(file, to);
        close(file);
        must(mount(from, to, 0, MS_BIND, 0), from);
    }
    must(mkdir("/mnt/dev/shm", 01777), "shm");
    must(mkdir("/mnt/dev/pts", 0755), "pts");
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++)
        must(symlink(links[i][0], links[i][1]), links[i][1]);
    must(mount("devpts", "/mnt/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=620"), "devpts");
    must(mount("tmpfs", "/mnt/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=01777"), "tmp");
    must(chdir("/mnt"), "chdir");
    must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(chdir("/"), "chdir");
}

static void loopback(void)
{
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING, .ifr_name = "lo"};
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(any, "socket");
    must(ioctl(any, SIOCSIFFLAGS, &request), "lo");
    close(any);
}

static void put(pid_t pid, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int file = open(path, O_WRONLY | O_CLOEXEC);
    must(file, path);
    must((int)write(file, text, strlen(text)), path);
    close(file);
}

static pid_t launch(int out)
{
    int gate[2] = {-1, -1};
    int user = (flags & CLONE_NEWUSER) != 0;
    if (user)
        must(pipe2(gate, O_CLOEXEC), "pipe");
    struct clone_args how = {.flags = flags, .exit_signal = SIGCHLD};
    uid_t uid = getuid();
    gid_t gid = getgid();
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    must(pid, "clone3");
    if (pid == 0) {
        char byte;
        if (user) {
            close(gate[1]);
            must(read(gate[0], &byte, 1) == 1 ? 0 : -1, "gate");
        }
        if (out >= 0)
            must(dup2(out, 1), "dup2");
        if (flags & CLONE_NEWUTS)
            must(sethostname("box", 3), "hostname");
        if (flags & CLONE_NEWNET)
            loopback();
        if (flags & CLONE_NEWNS)
            file_system();
        if (flags)
            must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
        must(prctl(PR_SET_PDEATHSIG, SIGKILL), "pdeathsig");
        char *environment[] = {"PATH=/bin:/usr/bin", 0};
        execve(program[0], program, environment);
        must(-1, program[0]);
    }
    if (user) {
        char map[64];
        close(gate[0]);
        put(pid, "setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1\n", uid);
        put(pid, "uid_map", map);
        snprintf(map, sizeof map, "0 %u 1\n", gid);
        put(pid, "gid_map", map);
        must((int)write(gate[1], "x", 1), "gate");
        close(gate[1]);
    }
    return pid;
}

static int end_of(pid_t pid)
{
    int status;
    must(waitpid(pid, &status, __WALL), "wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t cpu(void)
{
    uint64_t sum = 0;
    for (int who = RUSAGE_CHILDREN; who <= RUSAGE_SELF; who++) {
        struct rusage used;
        getrusage(who, &used);
        sum += (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000u;
        sum += (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    }
    return sum;
}

static int serve(void)
{
    int out[2];
    char byte;
    must(pipe2(out, O_CLOEXEC), "pipe");
    while (read(0, &byte, 1) == 1) {
        uint64_t cpu_before = cpu(), stamp = 0, started = now();
        pid_t pid = launch(out[1]);
        uint64_t free = now();
        if (end_of(pid) != 0)
            return 1;
        uint64_t ended = now(), used = cpu() - cpu_before;
        must(read(out[0], &stamp, sizeof stamp) == sizeof stamp ? 0 : -1, "stamp");
        printf("%.9f %.9f %.9f %.6f\n", (double)(free - started) / 1e9, (double)(stamp - started) / 1e9,
               (double)(ended - started) / 1e9, (double)used / 1e6);
        fflush(stdout);
    }
    return 0;
}

int main(int count, char **words)
{
    int served = count > 1 && !strcmp(words[1], "serve");
    words += served;
    if (count - served < 4) {
        fprintf(stderr, "usage: floor [serve] FLAGS ROOT PROGRAM [ARGUMENT]...\n");
        return 2;
    }
    for (const char *letter = words[1]; *letter; letter++)
        switch (*letter) {
        case 'm': flags |= CLONE_NEWNS; break;
        case 'p': flags |= CLONE_NEWPID; break;
        case 'i': flags |= CLONE_NEWIPC; break;
        case 'u': flags |= CLONE_NEWUTS; break;
        case 'c': flags |= CLONE_NEWCGROUP; break;
        case 'n': flags |= CLONE_NEWNET; break;
        case 'U': flags |= CLONE_NEWUSER; break;
        }
    root = words[2];
    program = words + 3;
    return served ? serve() : end_of(launch(-1));
}
