"""herd itself. Its command line is written down here only."""
import os
import subprocess
from pathlib import Path

from adapters import Adapter, first_line
from harness import HERE

BINARY = os.environ.get('HERD', str(HERE.parents[1] / 'target/x86_64-unknown-linux-gnu/release/herd'))
UNLIMITED = 'restart_delay = 0\nrestart_delay_max = "0s"\n'


class Herd(Adapter):
    """Output goes to /dev/null, as it does for the peers."""
    name = 'herd'
    extra = 'stdout = "null"\n'

    @classmethod
    def available(cls):
        return os.access(BINARY, os.X_OK)

    def configure(self, services, as_shipped=False):
        knobs = '' if as_shipped else UNLIMITED
        for s in services:
            self.file(f'units/{s.name}.toml', f'command = "{s.command()}"\nrestart = "always"\n{knobs}{self.extra}')
        for directory in ('run', 'log'):
            (self.work / directory).mkdir(exist_ok=True)

    def argv(self):
        return [BINARY, '--runtime-dir', str(self.work / 'run'), 'daemon',
                '--enabled-dir', str(self.work / 'units'), '--log-dir', str(self.work / 'log')]

    def control(self, *words):
        return [BINARY, '--runtime-dir', str(self.work / 'run'), *words]

    def answers(self):
        done = subprocess.run(self.control('list'), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def status_one(self, i):
        return self.control('status', f's{i}')

    def status_all(self):
        return self.control('list')

    def restart_one(self, i):
        return self.control('restart', f's{i}')

    def stop_all(self):
        return self.control('shutdown')

    def version(self):
        return f'{first_line(BINARY, "--version")}, {Path(BINARY).stat().st_size} bytes'


class HerdLogged(Herd):
    """As shipped: output is captured and kept."""
    name, extra = 'herd-logged', ''
