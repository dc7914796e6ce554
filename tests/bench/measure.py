#!/usr/bin/env python3
"""measure.py start|burst|flap|delays|orphans|list [-m floor,herd,…] [-n 100,1000] [-r REPEATS] [-o FILE]

Measures managers side by side. Repeats are interleaved (every manager once, then every manager again),
so that a noisy neighbour hits all of them.

burst    n idling services: only the start
start    n idling services: until the last one runs, CPU, memory, idle wake-ups, kill -9 to the new
         process's first instruction, control commands, shutdown
flap     100 services that exit at once beside one that does not: restarts, CPU, is status still quick?
delays   kill -9 in a row under each manager's own settings: how long until the service is back
orphans  how fast a manager as PID 1 of a PID namespace reaps
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import adapters
import adapters_herd      # noqa: F401 each registers its managers
import adapters_inits     # noqa: F401
import adapters_systemd   # noqa: F401
import harness
from harness import Group, Table, cpu_seconds, is_service, managers, now_ns, quantiles, timed, total, wait_until

SETTLE, IDLE = 2.5, 10                    # seconds before and of the idle measurement


class Run:
    """One start of one manager; a context manager that cleans up after itself."""

    def __init__(self, cls, modes, as_shipped=False, pid_1=False):
        self.work = Path(tempfile.mkdtemp(prefix=f'hb-{cls.name}-', dir=harness.WORK_ROOT))
        self.table = Table(self.work / 'table', len(modes))
        self.manager = cls(self.work)
        self.group = Group(self.work.name)
        services = [adapters.Service(self.table.path, i, mode) for i, mode in enumerate(modes)]
        self.manager.configure(services, as_shipped)
        self.argv = self.manager.argv()
        if pid_1 and not cls.needs_pid_1:
            self.argv = ['unshare', '-pmf', '--mount-proc', '--kill-child', *self.argv]
        time.sleep(1.2)                   # runsvdir waits until its directory is over a second old

    def __enter__(self):
        with open(self.work / 'err', 'wb') as err:
            self.process = subprocess.Popen(
                self.argv, env=self.manager.env(), stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                preexec_fn=self.prepare, start_new_session=True, cwd=self.work)
        return self

    def prepare(self):
        self.group.enter()
        self.table.stamp()

    def __exit__(self, *_):
        self.manager.cleanup()
        self.group.kill()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            print(f'{self.argv[0]}: still there after the clean-up')
        shutil.rmtree(self.work, ignore_errors=True)

    def wait_started(self):
        """Raises when not all services have come up."""
        n = self.table.n
        started = self.table.wait_all(max(30, n / 10), alive=lambda: self.process.poll() is None)
        if started < n:
            err = (self.work / 'err').read_bytes()[-600:].decode(errors='replace')
            raise RuntimeError(f'{started} of {n} started: {err}')

    def kill_service(self, i, timeout):
        """kill -9; ms until the new process's first instruction, or None."""
        pid, starts, _, _ = self.table.slot(i)
        pid = self.manager.host_pid(pid)
        begin = now_ns()
        os.kill(pid, signal.SIGKILL)
        back = self.table.wait_restart(i, starts, timeout)
        return back and (back - begin) / 1e6

    def command(self, argv):
        ms, code, output = timed(argv, self.manager.env())
        if code:
            raise RuntimeError(f'{" ".join(argv)}: exit {code}: {output[-300:]}')
        return ms

    def stop(self):
        """Seconds until no service is left, or None after a minute."""
        argv = self.manager.stop_all()
        begin = time.monotonic()
        if argv:
            subprocess.run(argv, env=self.manager.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        else:
            os.kill(self.process.pid, getattr(signal, self.manager.stop_signal))
        gone = wait_until(lambda: not any(is_service(p) for p in self.group.pids()), 60)
        return time.monotonic() - begin if gone else None


def burst(cls, n, _options):
    with Run(cls, ['run'] * n) as run:
        run.wait_started()
        rows = run.table.rows()
        return {'start_ms': (max(row[3] for row in rows) - run.table.stamped()) / 1e6,
                'cpu_all_ms': run.group.cpu_seconds() * 1e3,
                'cpu_manager_ms': total(cpu_seconds, managers(run.group)) * 1e3}


def start(cls, n, options):
    out = {}
    with Run(cls, ['run'] * n) as run:
        run.wait_started()
        out['start_ms'] = (max(row[2] for row in run.table.rows()) - run.table.stamped()) / 1e6
        out['cpu_all_ms'] = run.group.cpu_seconds() * 1e3
        out['cpu_manager_ms'] = total(cpu_seconds, managers(run.group)) * 1e3
        wait_until(run.manager.answers, 10)
        out |= idle(run)
        chance = random.Random(1)
        if n >= options.samples:
            slots = chance.sample(range(n), options.samples)
        else:
            slots = [chance.randrange(n) for _ in range(options.samples)]
        delays = []
        for i in slots:
            delays.append(run.kill_service(i, 8))
            time.sleep(0.02)
        out['restart_ms'] = quantiles([ms for ms in delays if ms])
        out['restart_lost'] = delays.count(None)
        for key, argv, times in (('status_one_ms', run.manager.status_one(n // 2), 15),
                                 ('status_all_ms', run.manager.status_all(), 5)):
            if argv:
                out[key] = quantiles([run.command(argv) for _ in range(times)])
        if run.manager.restart_one(0):
            out['restart_command_ms'] = quantiles(
                [run.command(run.manager.restart_one(i)) for i in chance.sample(range(n), min(n, 10))])
        stopped = run.stop()
        out['stop_ms'] = stopped and stopped * 1e3
    return out


def idle(run):
    """Wake-ups and CPU of the manager with nothing to do, then its memory."""
    time.sleep(SETTLE)
    pids = managers(run.group)
    woken, cpu, begin = total(harness.switches, pids), total(cpu_seconds, pids), time.monotonic()
    time.sleep(IDLE)
    seconds = time.monotonic() - begin
    return {'idle_wakeups_per_s': (total(harness.switches, pids) - woken) / seconds,
            'idle_cpu_percent': 100 * (total(cpu_seconds, pids) - cpu) / seconds,
            'processes': len(pids),
            'pss_kb': total(harness.pss_kb, pids)}


def flap(cls, n, _options):
    out, seconds = {}, 6
    with Run(cls, ['flap'] * n + ['run']) as run:
        run.wait_started()
        wait_until(run.manager.answers, 10)
        time.sleep(1)
        pids = managers(run.group)
        starts, cpu, begin = count(run), total(cpu_seconds, pids), time.monotonic()
        time.sleep(seconds)
        spent = time.monotonic() - begin
        restarts = count(run) - starts
        out['restarts_per_s'] = restarts / spent
        out['manager_us_per_restart'] = 1e6 * (total(cpu_seconds, pids) - cpu) / max(1, restarts)
        out['given_up'] = sum(1 for row in run.table.rows()[:n] if now_ns() - row[3] > 3e9)
        if run.manager.status_one(n):
            out['status_one_ms'] = quantiles([run.command(run.manager.status_one(n)) for _ in range(15)])
    return out


def count(run):
    return sum(row[1] for row in run.table.rows())


def delays(cls, _n, _options):
    with Run(cls, ['run'] * 3, as_shipped=True) as run:
        run.wait_started()
        time.sleep(3)
        out = []
        for _ in range(6):
            ms = run.kill_service(0, 12)
            out.append(ms and round(ms, 1))
            if ms is None:
                break
        return {'delays_ms': out}


def orphans(cls, _n, _options):
    with Run(cls, ['run'], pid_1=True) as run:
        run.wait_started()
        time.sleep(1)
        first = next(p for p in run.group.pids() if adapters_systemd.inner_pids(p)[-1:] == ['1'])
        cpu = cpu_seconds(first)
        done = subprocess.run(['nsenter', '-t', str(first), '-p', harness.ORPHANS, '10000', '1000'],
                              stdout=subprocess.PIPE, timeout=200, preexec_fn=run.group.enter, check=True)
        out = json.loads(done.stdout)
        out['pid1_us_per_orphan'] = 1e6 * (cpu_seconds(first) - cpu) / max(1, out['orphans'])
        return out


MEASUREMENTS = {f.__name__: f for f in (start, burst, flap, delays, orphans)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=[*MEASUREMENTS, 'list'])
    parser.add_argument('-m', default='', help='managers, by comma; all that are found here')
    parser.add_argument('-n', default='100', help='numbers of services, by comma')
    parser.add_argument('-r', type=int, default=1, help='repeats')
    parser.add_argument('-o', default='results.jsonl', help='results are appended here')
    parser.add_argument('--samples', type=int, default=40, help='kills per run of start')
    parser.add_argument('--rt', action='store_true', help='SCHED_RR for the managers and their services')
    options = parser.parse_args()
    names = options.m.split(',') if options.m else [k for k, c in adapters.ALL.items() if c.available()]
    if unknown := set(names) - set(adapters.ALL):
        parser.error(f'no such manager: {", ".join(unknown)}; there are {", ".join(adapters.ALL)}')
    if options.what == 'list':
        for name in names:
            print(name, adapters.ALL[name](Path('/nonexistent')).version(), sep='\t')
        return
    if options.rt:
        harness.realtime()
    with open(options.o, 'a') as results:
        for _ in range(options.r):
            for n in map(int, options.n.split(',')):
                for name in names:
                    record(results, options, adapters.ALL[name], n)


def record(results, options, cls, n):
    if n > cls.limit and options.what != 'orphans':   # which starts one service whatever n is
        return
    row = {'what': options.what, 'manager': cls.name, 'n': n, 'load': os.getloadavg()[0]}
    try:
        row |= MEASUREMENTS[options.what](cls, n, options)
    except (OSError, RuntimeError, StopIteration, subprocess.SubprocessError) as error:
        row['error'] = repr(error)
    results.write(json.dumps(row) + '\n')
    results.flush()
    print(f'{options.what} {cls.name} {n}: {row.get("error") or "ok"}', flush=True)


if __name__ == '__main__':
    main()
