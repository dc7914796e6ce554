/* init : /init of the test machine. Its root is the host's own, read-only below a tmpfs overlay; one
 * directory of it stays live and writable; cgroups are pure v2, all controllers on.
 *
 * From the kernel's command line (unknown words become environment): VM_RUN, a host directory that
 * holds `command` and `environment` (NUL-separated) and gets `code`; VM_LIVE, the writable directory;
 * VM_PID1, when the command is to be PID 1 itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 256 };

static void complain(const char *what)
{
    fprintf(stderr, "vm init: %s: %s\n", what, strerror(errno));
}

static void power_off(void)
{
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

static void must(int result, const char *what)
{
    if (result < 0) {
        complain(what);
        power_off();
    }
}

static int mount_on(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
    mkdir(target, 0755);
    return mount(source, target, type, flags, data);
}

static void write_file(const char *path, const char *text)
{
    int f = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (f < 0 || write(f, text, strlen(text)) < 0)
        complain(path);
    if (f >= 0)
        close(f);
}

/* The NUL-separated words of a file; they live as long as the program. */
static char **words(const char *path)
{
    static char buffers[2][1 << 16], *lists[2][WORDS];
    static int used;
    char *buffer = buffers[used], **list = lists[used++];
    int f = open(path, O_RDONLY | O_CLOEXEC), n = 0;
    must(f, path);
    ssize_t size = read(f, buffer, sizeof buffers[0] - 1);
    must((int)size, path);
    close(f);
    for (char *w = buffer; w < buffer + size && n < WORDS - 1; w += strlen(w) + 1)
        list[n++] = w;
    return list;
}

/* Debian's user-mode-linux has as modules what ours has built in. */
static void load(const char *module)
{
    struct utsname u;
    char path[512];
    uname(&u);
    snprintf(path, sizeof path, "/base/host/usr/lib/uml/modules/%s/kernel/%s.ko", u.release, module);
    int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0)
        return;
    if (syscall(SYS_finit_module, f, "", 0) && errno != EEXIST)
        complain(path);
    close(f);
}

static void host_root(void)
{
    char a[4096], b[4096];
    must(mount_on("base", "/base", "tmpfs", 0, "mode=755"), "tmpfs");
    must(mount_on("none", "/base/host", "hostfs", 0, "/"), "the host's root by hostfs");
    load("fs/overlayfs/overlay");
    load("drivers/block/loop");
    mkdir("/base/upper", 0755);
    mkdir("/base/work", 0755);
    must(mount_on("root", "/base/root", "overlay", 0, "lowerdir=/base/host,upperdir=/base/upper,workdir=/base/work"),
         "overlay");
    const char *live = getenv("VM_LIVE");
    int live_in_tmp = live && !strncmp(live, "/tmp/", 5);
    must(mount_on("proc", "/base/root/proc", "proc", 0, 0), "proc");
    must(mount_on("sysfs", "/base/root/sys", "sysfs", 0, 0), "sysfs");
    must(mount_on("dev", "/base/root/dev", "devtmpfs", 0, 0), "devtmpfs");
    must(mount_on("run", "/base/root/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755"), "/run");
    if (!live_in_tmp)
        must(mount_on("tmp", "/base/root/tmp", "tmpfs", MS_NOSUID | MS_NODEV, 0), "/tmp");
    if (live) {
        snprintf(a, sizeof a, "/base/host%s", live);
        snprintf(b, sizeof b, "/base/root%s", live);
        must(mount(a, b, 0, MS_BIND, 0), live);
    }
    must(mount_on("none", "/base/root/run/vm", "hostfs", 0, getenv("VM_RUN")), "the run directory");
    must(chdir("/base/root"), "chdir");
    must(mount(".", "/", 0, MS_MOVE, 0), "move the root");
    must(chroot("."), "chroot");
    must(chdir("/"), "chdir");
}

static void devices(void)
{
    must(mount_on("devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666"), "devpts");
    must(mount_on("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, 0), "/dev/shm");
    const char *links[][2] = {{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"},
                              {"fd/2", "/dev/stderr"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
            complain(links[i][1]);
    /* not in every kernel */
    mount_on("mqueue", "/dev/mqueue", "mqueue", 0, 0);
    mount_on("security", "/sys/kernel/security", "securityfs", 0, 0);
}

static void cgroups(void)
{
    const char *control = "/sys/fs/cgroup/cgroup.subtree_control";
    char names[512] = "", one[64];
    must(mount_on("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "nsdelegate,memory_recursiveprot"), "cgroup2");
    int f = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
    must(f, "cgroup.controllers");
    must((int)read(f, names, sizeof names - 1), "cgroup.controllers");
    close(f);
    for (char *name = strtok(names, " \n"); name; name = strtok(0, " \n")) {
        snprintf(one, sizeof one, "+%s", name);
        write_file(control, one);
    }
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(s, "socket");
    must(ioctl(s, SIOCGIFFLAGS, &request), "lo");
    request.ifr_flags |= IFF_UP;
    must(ioctl(s, SIOCSIFFLAGS, &request), "lo");
    close(s);
}

static void become(char **command)
{
    const char *live = getenv("VM_LIVE");
    if (live)
        must(chdir(live), live);
    char **environment = words("/run/vm/environment");
    clearenv();
    for (char **e = environment; *e; e++)
        putenv(*e);
    execvp(command[0], command);
    complain(command[0]);
}

static void finish(int code)
{
    char text[16];
    snprintf(text, sizeof text, "%d\n", code);
    write_file("/run/vm/code", text);
    power_off();
}

int main(void)
{
    mkdir("/dev", 0755);
    mount("dev", "/dev", "devtmpfs", 0, 0);
    int console = open("/dev/console", O_RDWR);
    for (int i = 0; i < 3 && console >= 0; i++)
        dup2(console, i);
    if (console > 2)
        close(console);
    host_root();
    devices();
    cgroups();
    loopback_up();
    must(sethostname("vm", 2), "sethostname");
    char **command = words("/run/vm/command");
    if (getenv("VM_PID1")) {
        become(command);
        finish(127);
    }
    pid_t child = fork(), ended;
    must(child, "fork");
    if (!child) {
        setsid();
        ioctl(0, TIOCSCTTY, 1);
        become(command);
        _exit(127);
    }
    int status = 0;
    do
        ended = wait(&status);
    while (ended != child && (ended > 0 || errno == EINTR));
    finish(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}
