/* orphans TOTAL BATCH : how fast does PID 1 of this PID namespace reap?
 *
 * A batch of double-forked grandchildren waits on a pipe; when it is closed all exit at once, and the
 * time until every pid is gone is taken. Prints one JSON object. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t *grandchildren;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int is_gone(pid_t p)
{
    return p <= 0 || (kill(p, 0) && errno == ESRCH);
}

static void orphan(int i, int go[2])
{
    pid_t child = fork();
    if (child < 0) {
        perror("orphans: fork");
        exit(1);
    }
    if (!child) {
        pid_t grandchild = fork();
        if (!grandchild) {
            char c;
            close(go[1]);
            _exit(read(go[0], &c, 1) != 0);
        }
        grandchildren[i] = grandchild;
        _exit(grandchild < 0);
    }
    while (waitpid(child, 0, 0) < 0 && errno == EINTR)
        ;
}

int main(int argc, char **argv)
{
    int total = argc > 1 ? atoi(argv[1]) : 10000, batch = argc > 2 ? atoi(argv[2]) : 1000, left = 0;
    double spent = 0;
    size_t size = sizeof(pid_t) * (size_t)batch;
    grandchildren = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int done = 0; done < total && !left; done += batch) {
        int go[2], i = 0;
        if (pipe(go))
            return 1;
        for (int k = 0; k < batch; k++)
            orphan(k, go);
        close(go[0]);
        double begin = now(), t;
        close(go[1]);
        do {
            t = now();
            while (i < batch && is_gone(grandchildren[i]))
                i++;
            usleep(200);
        } while (i < batch && t - begin < 20);
        spent += t - begin;
        for (; i < batch; i++)
            left += !is_gone(grandchildren[i]);
    }
    printf("{\"orphans\": %d, \"seconds\": %.4f, \"per_s\": %.0f, \"left\": %d}\n", total, spent, total / spent, left);
    return 0;
}
