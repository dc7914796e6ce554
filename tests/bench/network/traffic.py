"""Throughput and connections by way of herd's bridge, beside a plain pair of interfaces."""
import contextlib
import json
import os
import random
import re
import subprocess
import time

UNIT = '''description = "A place for traffic"
boxed = true
command = ["sleep", "{mark}"]

[network]
mode = "bridge"
{ports}
'''
IPERF, CONNECTIONS = 5201, 5202


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def until(what, claims):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            found = claims()
            if found:
                return found
        time.sleep(0.05)
    raise RuntimeError(f'waited in vain for {what}')


def process_of(mark):
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if open(f'/proc/{entry}/cmdline').read().split('\0')[:2] == ['sleep', mark]:
                    return entry
    return None


class Place:
    """A network namespace to run things in, by the process that has it; None is our own."""

    def __init__(self, pid=None):
        self.words = ['nsenter', '--net', '--target', pid] if pid else []
        self.address = None
        self.children = []

    def start(self, *words):
        self.children.append(subprocess.Popen([*self.words, *words], stdout=subprocess.DEVNULL))

    def listens(self, port):
        return f':{port} ' in run(*self.words, 'ss', '-ltnH')

    def serve(self, work):
        self.start('iperf3', '-s', '-p', str(IPERF))
        self.start(f'{work}/connections', 'serve', str(CONNECTIONS))
        until('servers', lambda: self.listens(IPERF) and self.listens(CONNECTIONS))

    def throughput(self, address, port, seconds):
        told = json.loads(run(*self.words, 'iperf3', '-J', '-t', str(seconds), '-c', address, '-p', str(port)))
        return told['end']['sum_received']['bits_per_second'] / 1e9

    def connections(self, work, address, port, seconds):
        return float(run(*self.words, f'{work}/connections', 'make', address, str(port), str(seconds))) / 1e3


def address_of(pid):
    told = run('nsenter', '--net', '--target', pid, 'ip', '-4', '-o', 'addr', 'show', 'dev', 'eth0')
    found = re.search(r'inet ([0-9.]+)', told)
    return found and found[1]


def measure(work, rounds, seconds, results):
    run('ip', 'link', 'set', 'lo', 'up')
    units = '/run/units'
    os.makedirs(units)
    ports = f'ports = ["15201:{IPERF}", "15202:{CONNECTIONS}"]'
    for name, mark, what in [('one', '1000001', ports), ('two', '1000002', '')]:
        with open(f'{units}/{name}.toml', 'w') as out:
            out.write(UNIT.format(mark=mark, ports=what))
    herd = subprocess.Popen([f'{work}/herd', 'run', units], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # The plain pair: 10.200.0.1 here, .2 there.
    there = subprocess.Popen(['unshare', '--net', 'sleep', '1000003'])
    places = []
    try:
        host = Place()
        boxes = [Place(until(mark, lambda mark=mark: process_of(mark))) for mark in ('1000001', '1000002')]
        pair = Place(until('the pair', lambda: process_of('1000003')))
        places = [host, *boxes, pair]
        for box in boxes:
            box.address = until('an address', lambda box=box: address_of(box.words[-1]))
        run('ip', 'link', 'add', 'plain', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pair.words[-1])
        run('ip', 'addr', 'add', '10.200.0.1/24', 'dev', 'plain')
        run('ip', 'link', 'set', 'plain', 'up')
        run(*pair.words, 'ip', 'addr', 'add', '10.200.0.2/24', 'dev', 'eth0')
        run(*pair.words, 'ip', 'link', 'set', 'eth0', 'up')
        gateway = re.search(r'via ([0-9.]+)', run(*boxes[0].words, 'ip', '-4', 'route', 'show', 'default'))[1]
        for place in host, boxes[0], pair:
            place.serve(work)
        ways = [
            ('a plain pair, to the host', pair, '10.200.0.1', IPERF, CONNECTIONS),
            ('a plain pair, from the host', host, '10.200.0.2', IPERF, CONNECTIONS),
            ('box to host', boxes[1], gateway, IPERF, CONNECTIONS),
            ('box to box', boxes[1], boxes[0].address, IPERF, CONNECTIONS),
            ('host to box', host, boxes[0].address, IPERF, CONNECTIONS),
            ('host to published port', host, '127.0.0.1', 15201, 15202),
            ('outside to published port', pair, '10.200.0.1', 15201, 15202),
        ]
        for _ in range(rounds):
            random.shuffle(ways)
            flow = {way[0]: way[1].throughput(way[2], way[3], seconds) for way in ways}
            made = {way[0]: way[1].connections(work, way[2], way[4], seconds / 2) for way in ways}
            for kind, figures in ('traffic-throughput', flow), ('traffic-connections', made):
                for name in sorted(figures):
                    beside = 'from' if name.startswith('host') or 'from' in name else 'to'
                    plain = figures[f'a plain pair, {beside} the host']
                    results.add(kind, name, [figures[name], figures[name] / plain])
    finally:
        for place in places:
            for child in place.children:
                child.kill()
                child.wait()
        there.kill()
        there.wait()
        herd.terminate()
        herd.wait()
        for name in 'one', 'two':
            os.unlink(f'{units}/{name}.toml')
        os.rmdir(units)
