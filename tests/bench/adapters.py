"""One class per manager. A new one subclasses Adapter: configure() writes the configuration, argv()
starts it, and the rest are its control commands. Nothing else has to change.

`services` is a list of Service; with `as_shipped` the manager's own restart delays and limits stay.
"""
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import FLOOR, SVC

ALL = {}


@dataclass
class Service:
    table: str
    index: int
    mode: str                             # run: idles; flap: exits 1 at once

    @property
    def name(self):
        return f's{self.index}'

    def command(self, mode=None):
        return f'{SVC} {self.table} {self.index} {mode or self.mode}'


class Adapter:
    name = ''
    limit = 10 ** 9                       # the most services it takes
    needs_pid_1 = False                   # makes PID and mount namespaces of its own
    stop_signal = 'SIGTERM'               # used when there is no stop_all()
    program = None                        # must be on PATH

    def __init__(self, work):
        self.work = Path(work)

    def __init_subclass__(cls):
        if cls.name:
            ALL[cls.name] = cls

    @classmethod
    def available(cls):
        return cls.program is None or shutil.which(cls.program) is not None

    def configure(self, services, as_shipped=False):
        raise NotImplementedError

    def argv(self):
        raise NotImplementedError

    def env(self):
        return dict(os.environ)

    def answers(self):
        """Whether control commands can be timed by now."""
        return True

    def status_one(self, i):
        return None

    def status_all(self):
        return None

    def restart_one(self, i):
        return None

    def stop_all(self):
        return None

    def host_pid(self, pid):
        """A service's own idea of its pid as ours."""
        return pid

    def cleanup(self):
        """Takes away what lies outside the harness's group."""

    def version(self):
        return package_version(self.program)

    def file(self, relative, text, mode=0o644):
        path = self.work / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


def package_version(name):
    done = subprocess.run(['dpkg-query', '-W', '-f', '${Version}', name or ''], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return done.stdout.decode() or '?'


def first_line(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return (done.stdout.decode().strip().splitlines() or ['?'])[0]


class Floor(Adapter):
    name = 'floor'

    def configure(self, services, as_shipped=False):
        steady = sum(1 for s in services if s.mode == 'run') if services[0].mode != 'run' else 0
        self.command = [FLOOR, SVC, services[0].table, str(len(services)), services[0].mode, str(steady)]

    def argv(self):
        return self.command

    def version(self):
        return 'a spawn loop in C'


class Runit(Adapter):
    name, program, limit, stop_signal = 'runit', 'runsvdir', 1000, 'SIGHUP'

    def configure(self, services, as_shipped=False):
        for s in services:
            self.file(f'sv/{s.name}/run', f'#!{s.command()}\n', 0o755)

    def argv(self):
        return ['runsvdir', '-P', str(self.work / 'sv')]

    def status_one(self, i):
        return ['sv', 'status', str(self.work / f'sv/s{i}')]

    def status_all(self):
        return ['sv', 'status', *(str(p) for p in (self.work / 'sv').iterdir())]

    def restart_one(self, i):
        return ['sv', 'restart', str(self.work / f'sv/s{i}')]

    def version(self):
        return package_version('runit')


class S6(Adapter):
    """A service without notification-fd always waits 1 s before a restart, hence `fd=3`."""
    name, program = 's6', 's6-svscan'

    def configure(self, services, as_shipped=False):
        self.n = len(services)
        for s in services:
            notifies = s.mode == 'run' and not as_shipped
            self.file(f'sv/{s.name}/run', f'#!{s.command("fd=3" if notifies else None)}\n', 0o755)
            if notifies:
                self.file(f'sv/{s.name}/notification-fd', '3\n')

    def argv(self):
        return ['s6-svscan', '-c', str(self.n + 10), str(self.work / 'sv')]

    def status_one(self, i):
        return ['s6-svstat', str(self.work / f'sv/s{i}')]

    def status_all(self):
        return ['sh', '-c', f'for d in {self.work}/sv/*; do s6-svstat $d; done']

    def restart_one(self, i):
        return ['s6-svc', '-T', '3000', '-wR', '-r', str(self.work / f'sv/s{i}')]

    def stop_all(self):
        return ['s6-svscanctl', '-t', str(self.work / 'sv')]

    def version(self):
        return package_version('s6')


class Dinit(Adapter):
    """Not in Debian 12; $DINIT_DIR says where it is."""
    name = 'dinit'
    bin = Path(os.environ.get('DINIT_DIR', '/usr/sbin'))

    @classmethod
    def available(cls):
        return (cls.bin / 'dinit').exists()

    def configure(self, services, as_shipped=False):
        knobs = '' if as_shipped else 'restart-delay = 0\nrestart-limit-count = 0\n'
        for s in services:
            self.file(f'd/{s.name}', f'type = process\ncommand = {s.command()}\nrestart = yes\n{knobs}')
        self.file('d/boot', 'type = internal\n' + ''.join(f'waits-for = {s.name}\n' for s in services))

    def argv(self):
        return [str(self.bin / 'dinit'), '-d', str(self.work / 'd'), '-p', str(self.work / 'control'),
                '-l', '/dev/null', '-q']

    def control(self, *words):
        return [str(self.bin / 'dinitctl'), '-p', str(self.work / 'control'), *words]

    def status_one(self, i):
        return self.control('status', f's{i}')

    def status_all(self):
        return self.control('list')

    def restart_one(self, i):
        return self.control('restart', '--force', f's{i}')

    def stop_all(self):
        return self.control('shutdown')

    def version(self):
        return first_line(str(self.bin / 'dinit'), '--version')


class Supervisord(Adapter):
    name, program = 'supervisord', 'supervisord'

    def configure(self, services, as_shipped=False):
        knobs = '' if as_shipped else 'startsecs=0\nstartretries=1000000\n'
        programs = ''.join(
            f'[program:{s.name}]\ncommand={s.command()}\nautorestart=true\n{knobs}'
            'stdout_logfile=NONE\nstderr_logfile=NONE\n' for s in services)
        self.file('s.conf',
                  f'[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n'
                  f'pidfile={self.work}/pid\nminfds={max(1024, 4 * len(services) + 100)}\n'
                  f'[unix_http_server]\nfile={self.work}/control\n'
                  f'[supervisorctl]\nserverurl=unix://{self.work}/control\n'
                  '[rpcinterface:supervisor]\n'
                  'supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n'
                  + programs)

    def argv(self):
        return ['supervisord', '-c', str(self.work / 's.conf'), '-s']

    def control(self, *words):
        return ['supervisorctl', '-c', str(self.work / 's.conf'), *words]

    def answers(self):
        return (self.work / 'control').exists()

    def status_one(self, i):
        return self.control('status', f's{i}')

    def status_all(self):
        return self.control('status')

    def restart_one(self, i):
        return self.control('restart', f's{i}')

    def stop_all(self):
        return self.control('shutdown')

    def version(self):
        return package_version('supervisor')
