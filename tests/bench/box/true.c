// true [stamp|pause] : ends well. stamp: first writes when it was reached (CLOCK_MONOTONIC, u64 of
// nanoseconds) to standard output. pause: does not end.
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words)
{
    if (count > 1 && !strcmp(words[1], "stamp")) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t stamp = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        return write(1, &stamp, sizeof stamp) != sizeof stamp;
    }
    while (count > 1 && !strcmp(words[1], "pause"))
        pause();
    return 0;
}
