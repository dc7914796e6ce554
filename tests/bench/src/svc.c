/* svc TABLE INDEX [run|flap|notify|fd=N] : the benchmark's service. Records each of its starts in a
 * shared table, then idles (run) or exits 1 (flap).
 *
 * The table is a file of 32-byte slots: u32 pid, u32 starts, u64 first, u64 last, u64 unused; times
 * are CLOCK_MONOTONIC in ns, written by the service itself, so that no reader's polling blurs them.
 * As a script's interpreter ("#!/path/svc TABLE INDEX MODE" in a run file) the kernel hands over all
 * of it as one argument, which is split here: managers that want a run file then pay for no shell.
 * notify sends READY=1 to $NOTIFY_SOCKET; fd=N writes a newline to descriptor N. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct slot {
    uint32_t pid, starts;
    uint64_t first, last, unused;
};

static void on_stop(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int record(const char *table, int index)
{
    uint64_t now = now_ns();
    struct slot s;
    off_t at = (off_t)index * (off_t)sizeof s;
    int fd = open(table, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return 111;
    if (pread(fd, &s, sizeof s, at) != sizeof s)
        return 112;
    s.pid = (uint32_t)getpid();
    s.starts++;
    if (!s.first)
        s.first = now;
    s.last = now;
    if (pwrite(fd, &s, sizeof s, at) != sizeof s)
        return 113;
    close(fd);
    return 0;
}

static int notify(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    if (!length || length >= sizeof a.sun_path)
        return 114;
    memcpy(a.sun_path, path, length);
    if (path[0] == '@')
        a.sun_path[0] = 0;
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (sendto(s, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&a, size) != 7)
        return 115;
    close(s);
    return 0;
}

int main(int argc, char **argv)
{
    char *words[3] = {"", "0", "run"};
    if (argc > 1 && strchr(argv[1], ' ')) {
        int n = 0;
        for (char *w = strtok(argv[1], " "); w && n < 3; w = strtok(0, " "))
            words[n++] = w;
    } else {
        for (int i = 1; i < argc && i <= 3; i++)
            words[i - 1] = argv[i];
    }
    const char *mode = words[2];
    int failed = record(words[0], atoi(words[1]));
    if (failed)
        return failed;
    if (!strcmp(mode, "flap"))
        return 1;
    if (!strcmp(mode, "notify") && (failed = notify()))
        return failed;
    if (!strncmp(mode, "fd=", 3)) {
        int fd = atoi(mode + 3);
        if (write(fd, "\n", 1) != 1)
            return 116;
        close(fd);
    }
    signal(SIGTERM, on_stop); /* without handlers it would not die as PID 1 of a namespace */
    signal(SIGINT, on_stop);
    signal(SIGHUP, on_stop);
    for (;;)
        pause();
}
