/* cgroup_cost V2-DIR V1-PIDS-DIR : what cgroups cost a launcher, in µs (median, 95th percentile).
 *
 * Works in groups of its own below the two directories, which must exist and are not removed; every
 * group made is removed. Each operation is measured back to back and with 20 ms between, because the
 * kernel moves a process between groups under a lock that is cheap only when it was just taken; and
 * with no other group beside and with a thousand. x86-64 only (the child of clone3 is six
 * instructions of assembler, so that it can share the parent's stack). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MANY = 1000, DENSE = 400, SPARSE = 60 };

static double samples[3][DENSE];

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void need(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "cgroup_cost: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, int existing, int spaced, double *xs, int n)
{
    qsort(xs, (size_t)n, sizeof *xs, ascending);
    printf("| %-44s | %4d | %-12s | %7.1f | %7.1f |\n", what, existing, spaced ? "20 ms apart" : "back to back",
           xs[n / 2], xs[n * 95 / 100]);
}

static void pause_if(int spaced)
{
    if (spaced)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, 0);
}

/* The child shares our memory and stack and does nothing but exit(0). */
static pid_t clone_and_exit(uint64_t flags, int cgroup)
{
    struct clone_args a = {.flags = CLONE_VM | CLONE_VFORK | flags, .exit_signal = SIGCHLD,
                           .cgroup = cgroup < 0 ? 0 : (uint64_t)cgroup};
    long r;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%edi, %%edi\n\t"
                     "mov $60, %%eax\n\t"
                     "syscall\n"
                     "1:"
                     : "=a"(r)
                     : "a"(SYS_clone3), "D"(&a), "S"(sizeof a)
                     : "rcx", "r11", "memory");
    return (pid_t)r;
}

static void make_and_remove(const char *dir, const char *what, int existing, int spaced)
{
    char path[512];
    int n = spaced ? SPARSE : DENSE;
    snprintf(path, sizeof path, "%s/one", dir);
    for (int i = 0; i < n; i++) {
        pause_if(spaced);
        double a = now_us();
        need(!mkdir(path, 0755), path);
        double b = now_us();
        need(!rmdir(path), path);
        samples[0][i] = b - a;
        samples[1][i] = now_us() - b;
    }
    char label[64];
    snprintf(label, sizeof label, "%s mkdir", what);
    report(label, existing, spaced, samples[0], n);
    snprintf(label, sizeof label, "%s rmdir", what);
    report(label, existing, spaced, samples[1], n);
}

static void clone3_cost(int cgroup, const char *what, int existing, int spaced)
{
    int n = spaced ? SPARSE : DENSE;
    for (int i = 0; i < n; i++) {
        pause_if(spaced);
        double a = now_us();
        pid_t p = clone_and_exit(cgroup < 0 ? 0 : CLONE_INTO_CGROUP, cgroup);
        samples[0][i] = now_us() - a;
        need(p > 0, "clone3");
        need(waitpid(p, 0, 0) == p, "waitpid");
    }
    report(what, existing, spaced, samples[0], n);
}

/* A waiting child is moved into a fresh group, as a launcher without CLONE_INTO_CGROUP does it. */
static void move_cost(const char *dir, const char *what, int existing, int spaced)
{
    char path[512], procs[600], text[16];
    int n = spaced ? SPARSE : DENSE;
    snprintf(path, sizeof path, "%s/one", dir);
    snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
    for (int i = 0; i < n; i++) {
        int go[2];
        need(!pipe(go), "pipe");
        pid_t p = fork();
        need(p >= 0, "fork");
        if (!p) {
            char c;
            close(go[1]);
            _exit(read(go[0], &c, 1) != 0);
        }
        close(go[0]);
        pause_if(spaced);
        need(!mkdir(path, 0755), path);
        int f = open(procs, O_WRONLY | O_CLOEXEC), length = snprintf(text, sizeof text, "%d", p);
        need(f >= 0, procs);
        double a = now_us();
        need(write(f, text, (size_t)length) == length, procs);
        samples[0][i] = now_us() - a;
        close(f);
        close(go[1]);
        need(waitpid(p, 0, 0) == p, "waitpid");
        need(!rmdir(path), path);
    }
    report(what, existing, spaced, samples[0], n);
}

static void fill(const char *dir, int make)
{
    char path[512];
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%s/other%d", dir, i);
        need(make ? !mkdir(path, 0755) : !rmdir(path), path);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: cgroup_cost V2-DIR V1-PIDS-DIR\n");
        return 2;
    }
    char target[512];
    snprintf(target, sizeof target, "%s/target", argv[1]);
    need(!mkdir(target, 0755), target);
    int cgroup = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    need(cgroup >= 0, target);
    printf("| operation | groups beside | | p50 µs | p95 µs |\n|---|---|---|---|---|\n");
    for (int many = 0; many < 2; many++) {
        int existing = many ? MANY : 0;
        if (many) {
            fill(argv[1], 1);
            fill(argv[2], 1);
        }
        for (int spaced = 0; spaced < 2; spaced++) {
            clone3_cost(-1, "clone3 (vfork), child exits", existing, spaced);
            clone3_cost(cgroup, "clone3 (vfork) CLONE_INTO_CGROUP", existing, spaced);
            make_and_remove(argv[1], "v2", existing, spaced);
            move_cost(argv[1], "v2 write of cgroup.procs", existing, spaced);
            make_and_remove(argv[2], "v1 pids", existing, spaced);
            move_cost(argv[2], "v1 pids write of cgroup.procs", existing, spaced);
        }
        if (many) {
            fill(argv[1], 0);
            fill(argv[2], 0);
        }
    }
    need(!rmdir(target), target);
    return 0;
}
