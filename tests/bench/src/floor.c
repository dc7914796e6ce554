/* floor SVC TABLE N MODE [STEADY] : what the kernel makes anyone do. Spawns N services, waits, spawns
 * again what died. No configuration, no control socket, no dependencies. The last STEADY idle. */
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIDS = 1 << 22 };

static int total, steady, *slot_of;
static pid_t *pids;
static char **arguments;
static volatile sig_atomic_t stopping;

static void on_term(int signal_number)
{
    (void)signal_number;
    stopping = 1;
}

static void start(int i)
{
    char index[16];
    snprintf(index, sizeof index, "%d", i);
    char *mode = i >= total - steady ? "run" : arguments[4];
    char *argv[] = {arguments[1], arguments[2], index, mode, 0};
    char *environment[] = {"PATH=/usr/bin:/bin", 0};
    posix_spawnattr_t how;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    if (posix_spawn(&pids[i], arguments[1], 0, &how, argv, environment))
        pids[i] = 0;
    else
        slot_of[pids[i] & (PIDS - 1)] = i + 1;
    posix_spawnattr_destroy(&how);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    arguments = argv;
    total = atoi(argv[3]);
    steady = argc > 5 ? atoi(argv[5]) : 0;
    pids = calloc((size_t)total, sizeof *pids);
    slot_of = calloc(PIDS, sizeof *slot_of);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, 0);
    for (int i = 0; i < total; i++)
        start(i);
    while (!stopping) {
        pid_t died = waitpid(-1, 0, 0);
        int slot = died > 0 ? slot_of[died & (PIDS - 1)] : 0;
        if (slot && !stopping) {
            slot_of[died & (PIDS - 1)] = 0;
            start(slot - 1);
        }
    }
    for (int i = 0; i < total; i++)
        if (pids[i] > 0)
            kill(pids[i], SIGTERM);
    while (waitpid(-1, 0, 0) > 0)
        ;
    return 0;
}
