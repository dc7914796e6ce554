"""What every measurement uses: the table of starts, CPU and memory accounting, clean-up.

Each manager runs inside a cgroup of its own, so that all it starts is found again (for memory and for
clean-up: only processes of that group are ever killed) and its total CPU time is known. That is a v1
`cpuacct` group where there is one, else a v2 group.
"""
import mmap
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SVC, FLOOR, ORPHANS = (str(HERE / 'bin' / name) for name in ('svc', 'floor', 'orphans'))
SLOT = struct.Struct('<IIQQQ')
WORK_ROOT = os.environ.get('BENCH_TMP', '/dev/shm')


def realtime():
    """SCHED_RR for this process and what it starts: what an idle machine would show.

    In the root cpu group, as the others have no real-time budget.
    """
    try:
        Path('/sys/fs/cgroup/cpu/cgroup.procs').write_text(str(os.getpid()))
    except OSError:
        pass                              # pure v2: the group that we are in
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Table:
    """The file of slots that `svc` writes its starts to; slot n holds the moment of the manager's exec."""

    def __init__(self, path, n):
        self.path, self.n = str(path), n
        with open(path, 'wb') as f:
            f.truncate((n + 1) * SLOT.size)
        self.file = open(path, 'r+b')
        self.map = mmap.mmap(self.file.fileno(), (n + 1) * SLOT.size)

    def stamp(self):
        """The last thing before the manager's exec: entering a cgroup takes 10 ms on some kernels."""
        SLOT.pack_into(self.map, self.n * SLOT.size, os.getpid(), 1, now_ns(), now_ns(), 0)

    def stamped(self):
        return self.slot(self.n)[3]

    def slot(self, i):
        """(pid, starts, first start, last start), the times in ns."""
        return SLOT.unpack_from(self.map, i * SLOT.size)[:4]

    def rows(self):
        return list(SLOT.iter_unpack(self.map[:self.n * SLOT.size]))

    def wait_all(self, timeout, alive=lambda: True):
        """Waits until every slot has started; the number that have."""
        end = time.monotonic() + timeout
        while True:
            started = sum(1 for row in self.rows() if row[1])
            if started == self.n or time.monotonic() > end or not alive():
                return started
            time.sleep(0.004 if self.n <= 1000 else 0.02)

    def wait_restart(self, i, starts, timeout):
        """Waits until slot i has started more than `starts` times; the time of its start, or None."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            slot = self.slot(i)
            if slot[1] > starts:
                return slot[3]
            time.sleep(0.0005)
        return None


class Group:
    """A cgroup that a manager and all it starts live in."""

    ROOTS = ('/sys/fs/cgroup/cpuacct', '/sys/fs/cgroup')

    def __init__(self, name):
        root = next(Path(r) for r in self.ROOTS if (Path(r) / 'cgroup.procs').exists())
        self.v1 = (root / 'cpuacct.usage').exists()
        self.dir = root / 'herdbench' / name
        self.dir.mkdir(parents=True, exist_ok=True)

    def enter(self):
        """For preexec_fn."""
        (self.dir / 'cgroup.procs').write_text(str(os.getpid()))

    def cpu_seconds(self):
        if self.v1:
            return int((self.dir / 'cpuacct.usage').read_text()) / 1e9
        return int((self.dir / 'cpu.stat').read_text().split()[1]) / 1e6

    def dirs(self):
        return [self.dir, *(p for p in self.dir.rglob('*') if p.is_dir())]

    def pids(self):
        found = set()
        for d in self.dirs():
            try:
                found |= {int(x) for x in (d / 'cgroup.procs').read_text().split()}
            except OSError:
                pass                      # the group has gone meanwhile
        return found

    def kill(self, timeout=20):
        """Kills what is in the group, removes it; whether all are gone."""
        end = time.monotonic() + timeout
        while (pids := self.pids()) and time.monotonic() < end:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
            reap()
        for d in [*sorted(self.dirs(), key=lambda d: -len(str(d))), self.dir.parent]:
            try:
                d.rmdir()
            except OSError:
                pass                      # still busy, or the parent of another run's
        return not self.pids()


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def threads(pid):
    return (Path(d.path) for d in os.scandir(f'/proc/{pid}/task'))


def cpu_seconds(pid):
    """CPU time of all the process's threads, to the nanosecond (schedstat; stat counts ticks)."""
    return sum(int((t / 'schedstat').read_text().split()[0]) for t in threads(pid)) / 1e9


def switches(pid):
    """Context switches of all the process's threads: each wake-up is one."""
    return sum(int(line.split()[1]) for t in threads(pid)
               for line in (t / 'status').read_text().splitlines() if 'ctxt_switches' in line)


def pss_kb(pid):
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('Pss:'))


def is_service(pid):
    """None when the process has gone."""
    try:
        return os.readlink(f'/proc/{pid}/exe') == SVC
    except OSError:
        return None


def managers(group):
    """The group's processes that are not services: the manager with its monitors and helpers."""
    return sorted(p for p in group.pids() if is_service(p) is False)


def total(measure, pids):
    """The sum over the processes that are still there."""
    result = 0
    for pid in pids:
        try:
            result += measure(pid)
        except OSError:
            pass
    return result


def timed(argv, env):
    """(ms, exit code, output) of a command."""
    begin = time.perf_counter()
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)
    return (time.perf_counter() - begin) * 1e3, done.returncode, done.stdout.decode(errors='replace')


def quantiles(xs):
    s = sorted(xs)
    if not s:
        return None
    return {'n': len(s), 'min': s[0], 'p50': s[len(s) // 2], 'p95': s[min(len(s) - 1, int(len(s) * .95))],
            'max': s[-1]}


def wait_until(condition, timeout):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False
