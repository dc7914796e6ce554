// connections serve PORT : accepts, says a byte, and lets the other end it.
// connections make ADDRESS PORT SECONDS : one after the other, each ended by a reset; prints how many a second.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void must(long answer, const char *what)
{
    if (answer >= 0)
        return;
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    int on = 1, serves = count == 3;
    char byte = 'x';
    if (!serves && count != 5)
        return 2;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[serves ? 2 : 3]))};
    if (serves) {
        int door = socket(AF_INET, SOCK_STREAM, 0);
        must(setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
        must(bind(door, (void *)&at, sizeof at), "bind");
        must(listen(door, 1024), "listen");
        for (;;) {
            int one = accept(door, 0, 0);
            must(one, "accept");
            send(one, &byte, 1, MSG_NOSIGNAL);
            while (recv(one, &byte, 1, 0) > 0)
                ;
            close(one);
        }
    }
    struct linger reset = {.l_onoff = 1};
    double until = now() + atof(words[4]), started = now();
    unsigned made = 0;
    must(inet_pton(AF_INET, words[2], &at.sin_addr) - 1, "address");
    for (; now() < until; made++) {
        int one = socket(AF_INET, SOCK_STREAM, 0);
        must(one, "socket");
        must(connect(one, (void *)&at, sizeof at), "connect");
        must(recv(one, &byte, 1, 0) - 1, "recv");
        setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(one);
    }
    printf("%.0f\n", made / (now() - started));
    return 0;
}
