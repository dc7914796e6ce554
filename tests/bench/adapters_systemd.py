"""Debian's systemd as PID 1 of namespaces of its own (enter-systemd.sh). Only its private socket is
used, as there is no D-Bus daemon."""
import os
import time
from pathlib import Path

from adapters import Adapter, package_version
from harness import HERE, SVC

SYSTEMD = '/lib/systemd/systemd'


class Systemd(Adapter):
    name, needs_pid_1 = 'systemd', True

    @classmethod
    def available(cls):
        return os.path.exists(SYSTEMD) and os.geteuid() == 0

    def configure(self, services, as_shipped=False):
        self.n = len(services)
        delay, limit = ('', '') if as_shipped else ('RestartSec=0\n', 'StartLimitIntervalSec=0\n')
        wants = self.work / 'units/default.target.wants'
        wants.mkdir(parents=True)
        for s in services:
            self.file(f'units/{s.name}.service',
                      f'[Unit]\nDefaultDependencies=no\n{limit}[Service]\nType=exec\nExecStart={s.command()}\n'
                      f'Restart=always\n{delay}StandardOutput=null\nStandardError=null\n')
            (wants / f'{s.name}.service').symlink_to(f'../{s.name}.service')
        self.file('units/default.target',
                  '[Unit]\nDescription=bench\nDefaultDependencies=no\nAllowIsolate=yes\n')
        self.file('units/shutdown.target', '[Unit]\nDefaultDependencies=no\n')

    def argv(self):
        return [str(HERE / 'enter-systemd.sh'), str(self.work), SVC, str(self.n)]

    def cgroup(self):
        return Path((self.work / 'cgroup2').read_text().strip())

    def host_pid(self, pid):
        for directory, _, _ in os.walk(self.cgroup()):
            for candidate in Path(directory, 'cgroup.procs').read_text().split():
                if inner_pids(candidate) == [candidate, str(pid)]:
                    return int(candidate)
        raise ProcessLookupError(pid)

    def control(self, *words):
        if not hasattr(self, 'init'):
            self.init = str(self.host_pid(1))
        return ['nsenter', '-t', self.init, '-m', '-p', 'systemctl', '--no-pager', *words]

    def status_one(self, i):
        return self.control('show', '-p', 'ActiveState,SubState,MainPID', f's{i}.service')

    def status_all(self):
        return self.control('list-units', '--no-legend', '--plain', '--type=service')

    def restart_one(self, i):
        return self.control('restart', f's{i}.service')

    def stop_all(self):
        return self.control('stop', '--no-block', 's*.service')

    def version(self):
        return package_version('systemd')

    def cleanup(self):
        """The v2 groups that the namespace made."""
        try:
            group = self.cgroup()
            (group / 'cgroup.kill').write_text('1')
            end = time.monotonic() + 5
            while 'populated 1' in (group / 'cgroup.events').read_text() and time.monotonic() < end:
                time.sleep(.05)
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
        except OSError as error:
            print(f'systemd: {error}')


def inner_pids(pid):
    """The process's pid in our namespace and in each below."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return []
    return next(line.split()[1:] for line in status.splitlines() if line.startswith('NSpid:'))
