/* racer : everything of the boot race that runs inside the machine.
 *
 *   racer begin COMMAND…   what is started as PID 1: notes the moment and becomes the init
 *   racer N                the service: counts itself; the N-th prints the figures and asks for the end
 *   racer off              the last act of inits that need one written down: the machine off
 *
 * The count and the moments lie in /bench/race, shared memory of all services; times are CLOCK_BOOTTIME in ns, taken by
 * those whom they concern. The figures are one line of JSON on /bench/console, before it `RACE `. The end is asked for by
 * /bench/end, a script of the init's own way down; how long it takes is for the host to see. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

struct race {
    long count;
    long long begun, first;
};

struct totals {
    long processes, pss, cpu_ns, children_ticks;
};

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct race *race(void)
{
    int f = open("/bench/race", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (f < 0 || ftruncate(f, 4096))
        _exit(111);
    void *m = mmap(0, sizeof(struct race), PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    if (m == MAP_FAILED)
        _exit(112);
    close(f);
    return m;
}

static ssize_t slurp(const char *path, char *text, size_t size)
{
    int f = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = f < 0 ? -1 : read(f, text, size - 1);
    text[n > 0 ? n : 0] = 0;
    if (f >= 0)
        close(f);
    return n;
}

/* `Name: 12 kB` of a status file. */
static long field(const char *path, const char *name)
{
    char text[8192], *found;
    if (slurp(path, text, sizeof text) <= 0 || !(found = strstr(text, name)))
        return -1;
    return atol(found + strlen(name));
}

/* Own time from schedstat in ns where the kernel has it, else ticks of stat; that of children that ended, in ticks. */
static void cpu_of(const char *pid, long *own_ns, long *children)
{
    char path[64], text[1024], *p;
    unsigned long u = 0, s = 0, cu = 0, cs = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    *own_ns = *children = 0;
    if (slurp(path, text, sizeof text) > 0 && (p = strrchr(text, ')')))
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu", &u, &s, &cu, &cs);
    *children = (long)(cu + cs);
    *own_ns = (long)((u + s) * (1000000000UL / (unsigned long)sysconf(_SC_CLK_TCK)));
    snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
    if (slurp(path, text, sizeof text) > 0 && atol(text) > 0)
        *own_ns = atol(text);
}

/* All processes; the services' memory is not the managers', but what was spent until they ran is. */
static struct totals totals(void)
{
    struct totals t = {0};
    char path[300], name[64];
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        long own, children;
        cpu_of(e->d_name, &own, &children);
        snprintf(path, sizeof path, "/proc/%s/smaps_rollup", e->d_name);
        long pss = field(path, "Pss:");
        if (pss <= 0)
            continue; /* a thread of the kernel's, or gone */
        t.cpu_ns += own;
        t.children_ticks += children;
        snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
        slurp(path, name, sizeof name);
        if (strcmp(name, "racer\n")) {
            t.processes++;
            t.pss += pss;
        }
    }
    return t;
}

static void report(struct race *r, long n, long long last)
{
    long own, children;
    double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    long rss = field("/proc/1/status", "VmRSS:");
    cpu_of("1", &own, &children);
    struct totals t = totals();
    char text[512];
    int size = snprintf(text, sizeof text,
        "\nRACE {\"n\": %ld, \"to_first_s\": %.4f, \"to_all_s\": %.4f, \"boot_to_all_s\": %.3f, \"pid1_rss_kb\": %ld, "
        "\"pid1_cpu_s\": %.3f, \"managers\": %ld, \"managers_pss_kb\": %ld, \"cpu_all_s\": %.3f}\n",
        n, (double)(r->first - r->begun) / 1e9, (double)(last - r->begun) / 1e9, (double)last / 1e9, rss, (double)own / 1e9,
        t.processes, t.pss, (double)t.cpu_ns / 1e9 + (double)t.children_ticks * tick);
    int f = open("/bench/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (f < 0 || write(f, text, (size_t)size) != size)
        _exit(113);
    close(f);
}

static void off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    _exit(114);
}

int main(int argc, char **argv)
{
    if (argc > 2 && !strcmp(argv[1], "begin")) {
        race()->begun = now();
        execv(argv[2], argv + 2);
        perror(argv[2]);
        return 127;
    }
    if (argc > 1 && !strcmp(argv[1], "off"))
        off();
    long n = argc > 1 ? atol(argv[1]) : 1;
    struct race *r = race();
    long long t = now();
    __sync_bool_compare_and_swap(&r->first, 0, t);
    if (__sync_add_and_fetch(&r->count, 1) == n) {
        report(r, n, t);
        if (!fork()) {
            setsid();
            execl("/bin/busybox", "sh", "/bench/end", (char *)0);
            _exit(115);
        }
    }
    for (;;)
        pause();
}
