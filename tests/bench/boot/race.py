#!/usr/bin/env python3
"""race.py [--rt] [-e ENGINE,…] [-n N,…] [-r REPEATS] [-i INIT,…] [-o FILE] : boots inits beside each other, interleaved.

Engines: `container` (systemd-nspawn on this kernel) and `machine` (user-mode Linux). One JSON line a boot.
"""
import argparse
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import inits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness import realtime  # noqa: E402

HERE = Path(__file__).resolve().parent
VM = HERE.parent.parent / 'vm'
LIMIT = 60                                # seconds until a boot has failed


class Machine:
    """The console of a boot: what it said, and when the figures and the end came."""

    def __init__(self, argv, environment=None, end=signal.SIGKILL):
        self.end = end
        leader, follower = pty.openpty()
        self.process = subprocess.Popen(argv, stdin=follower, stdout=follower, stderr=follower,
                                        start_new_session=True, env=environment)
        os.close(follower)
        self.text, figures, told = b'', None, None
        end = time.monotonic() + LIMIT
        timer = signal.signal(signal.SIGALRM, lambda *_: self.cut())
        signal.alarm(LIMIT)
        try:
            while chunk := self.read(leader):
                self.text += chunk
                if figures is None and (at := self.text.find(b'RACE {')) >= 0 and b'}' in self.text[at:]:
                    told = time.monotonic()
                    figures = json.loads(self.text[at + 5:self.text.index(b'}', at) + 1])
            self.process.wait()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, timer)
            os.close(leader)
        ended = time.monotonic()
        self.figures = figures
        if figures is not None and ended < end:
            figures['shutdown_s'] = round(ended - told, 3)

    @staticmethod
    def read(leader):
        try:
            return os.read(leader, 65536)
        except OSError:
            return b''                    # the last writer has closed it

    def cut(self):
        os.killpg(self.process.pid, self.end)


def lay(init, n, tree):
    """The configuration of an init, and what every one of them needs."""
    init.configure(tree, n)
    shutil.copy2(HERE / 'bin' / 'racer', make(tree, 'usr/bin') / 'racer')
    if init.program in ('/sbin/init', '/usr/bin/dinit'):
        put_binaries(init, tree)
    return f'sleep 0\n{init.end}\n'


def make(tree, path):
    directory = Path(tree) / path
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def put_binaries(init, tree):
    target = make(tree, 'usr/bin')
    if init.name == 'dinit':
        for name in ('dinit', 'dinitctl'):
            shutil.copy2(Path(os.environ['DINIT']).with_name(name), target / name)
        return
    shutil.copy2(herd(), target / 'herd')
    for name in ('init', 'poweroff'):
        inits.link(tree, f'/usr/sbin/{name}', '../bin/herd')


def herd():
    return os.environ.get('HERD') or sorted(
        HERE.parent.parent.parent.glob('target/*/release/herd'), key=lambda p: p.stat().st_mtime)[-1]


IN_CONTAINER = r'''
set -e
mount -t tmpfs race "$work/above"
mkdir "$work/above/upper" "$work/above/work" "$work/above/bench"
cp -a "$work/tree/." "$work/above/upper/"
cp "$work/end" "$work/above/bench/end"
ln -s /dev/console "$work/above/bench/console"
mount -t overlay race -o "lowerdir=$root,upperdir=$work/above/upper,workdir=$work/above/work" "$work/root"
# Not exec: the namespace's first process is this shell, and with it all goes.
systemd-nspawn --quiet --directory="$work/root" --register=no --keep-unit --private-network \
    --bind="$work/above/bench:/bench" --machine="$name" --kill-signal=SIGKILL /usr/bin/racer begin $command
'''


def container(init, work, root):
    for name in ('above', 'root'):
        (work / name).mkdir()
    environment = {**os.environ, 'work': str(work), 'root': str(root), 'command': ' '.join(init.command),
                   'name': work.name.replace('.', '').replace('_', '')}
    return Machine(['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private', 'bash', '-c', IN_CONTAINER], environment)


def machine(init, work, root):
    top = make(work, 'initramfs')
    for name in ('bin', 'proc', 'sys', 'dev'):
        (top / name).mkdir()
    shutil.copy2('/bin/busybox', top / 'bin/busybox')
    shutil.copy2(HERE / 'init', top / 'init')
    shutil.copy2(work / 'end', top / 'end')
    (top / 'command').write_text(' '.join(init.command))
    subprocess.run(['tar', 'cf', top / 'configuration.tar', '-C', work / 'tree', '.'], check=True)
    cpio = work / 'initramfs.cpio'
    with open(cpio, 'wb') as out:
        names = subprocess.run(['find', '.'], cwd=top, check=True, capture_output=True).stdout
        subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], cwd=top, check=True, input=names, stdout=out)
    return Machine([VM / 'boot', '-q', '-m', '1024', '-I', cpio, '-t', str(LIMIT), f'{root}.ext4'],
                   end=signal.SIGTERM)        # user-mode Linux is not killed before what it traces


ENGINES = {'container': container, 'machine': machine}


def race(engine, init, n, root):
    work = Path(tempfile.mkdtemp(prefix='race.', dir='/tmp'))
    try:
        make(work, 'tree')
        (work / 'end').write_text(lay(init, n, work / 'tree'))
        boot = ENGINES[engine](init, work, root)
        row = boot.figures or {'error': boot.text[-2000:].decode(errors='replace')}
        return {'engine': engine, 'init': init.name, 'n': n, 'rt': is_realtime(), 'load': os.getloadavg()[0], **row}
    finally:
        shutil.rmtree(work)


def is_realtime():
    return os.sched_getscheduler(0) == os.SCHED_RR


def available(root, wanted):
    for name in wanted or inits.ALL:
        init = inits.ALL[name]
        own = init.program == '/sbin/init' or (name == 'dinit' and 'DINIT' in os.environ)
        if own or (root / init.program.lstrip('/')).exists():
            yield init
        else:
            print(f'{name}: no {init.program} in the root; left out', file=sys.stderr)


def words(kind):
    return lambda text: [kind(word) for word in text.split(',') if word]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-e', '--engines', type=words(str), default=list(ENGINES))
    parser.add_argument('-n', '--counts', type=words(int), default=[100, 1000])
    parser.add_argument('-r', '--repeats', type=int, default=5)
    parser.add_argument('-i', '--inits', type=words(str), default=[])
    parser.add_argument('-o', '--output', default='race.jsonl')
    parser.add_argument('--rt', action='store_true', help='at real-time priority: what an idle machine would show')
    options = parser.parse_args()
    root = Path(subprocess.run([HERE / 'make-root'], check=True, capture_output=True, text=True).stdout.strip())
    if options.rt:
        realtime()
    racers = list(available(root, options.inits))
    with open(options.output, 'a') as output:
        for engine in options.engines:
            for n in options.counts:
                for _ in range(options.repeats):
                    for init in racers:
                        row = race(engine, init, n, root)
                        output.write(json.dumps(row) + '\n')
                        output.flush()
                        told = row.get('to_all_s', 'failed')
                        print(f'{engine} {init.name} {n}: {told}', file=sys.stderr)


if __name__ == '__main__':
    main()
