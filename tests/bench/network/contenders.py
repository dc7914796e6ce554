"""Who gives boxes networks: each in a network namespace of its own, asked for more places and for fewer."""
import contextlib
import ctypes
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import time

NETAVARK = '/usr/lib/podman/netavark'
CNI = '/usr/lib/cni'
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def into_new_namespace():
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), 'unshare')
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)


class Server:
    """A process that answers `+ N` and `- N` with seconds."""
    is_slow = False

    def __init__(self, name, words, before=lambda: None):
        def prepare():
            into_new_namespace()
            before()

        self.name = name
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=prepare)

    def ask(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer:
            raise RuntimeError(f'no answer to {line}')
        return [float(word) for word in answer]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Floor(Server):
    def __init__(self, name, work):
        super().__init__(name, [f'{work}/floor'], lambda: subprocess.run(['nft', '-f', f'{work}/floor.nft'], check=True))

    def more(self, count):
        all_of_it, namespaces = self.ask(f'+ {count}')
        return [all_of_it - namespaces]

    def fewer(self, count):
        return self.ask(f'- {count}')[:1]


class Herd(Server):
    """A whole box, whose program runs: beside the same box with nothing but loopback, what its network takes. To end
    it is to give its network back."""

    def __init__(self, name, work, kind):
        words = [os.environ['BENCH_LAUNCH'], '--program', f'{work}/root/bin/true', '--root', f'{work}/root',
                 '--executor', f'{work}/herd', '--spares', '2', '--serve', kind]
        super().__init__(name, words)

    def more(self, count):
        return self.ask(f'+ {count}')

    def fewer(self, count):
        return self.ask(f'- {count}')[1:]


class Peer:
    """A command that is told of a network namespace that is there. Forks into a namespace of its own and runs there."""
    is_slow = True

    def __init__(self, name, work, kind, has_port):
        self.name, self.kind, self.has_port = name, kind, has_port
        self.places = []
        self.directory = f'/run/peer-{random.randrange(1 << 40):x}'
        os.mkdir(self.directory)
        fork = multiprocessing.get_context('fork')
        self.pipe, other = fork.Pipe()
        self.process = fork.Process(target=self.serve, args=(other,))
        self.process.start()

    def serve(self, pipe):
        # A copy of another's standard input would keep that one alive.
        for number in map(int, os.listdir('/proc/self/fd')):
            if number > 2 and number != pipe.fileno():
                with contextlib.suppress(OSError):
                    os.close(number)
        into_new_namespace()
        while True:
            try:
                what, count = pipe.recv()
            except EOFError:
                return
            try:
                pipe.send((self.begin if what == '+' else self.end)(count))
            except Exception as error:
                pipe.send(RuntimeError(str(error)))

    def ask(self, what, count):
        self.pipe.send((what, count))
        answer = self.pipe.recv()
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    def more(self, count):
        return self.ask('+', count)

    def fewer(self, count):
        return self.ask('-', count)

    def close(self):
        self.pipe.close()
        self.process.terminate()
        self.process.join()
        subprocess.run(f'umount {self.directory}/ns-* 2>/dev/null', shell=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def begin(self, count):
        new = list(range(len(self.places), len(self.places) + count))
        for number in new:
            self.places.append(self.namespace(number))
        started = time.monotonic()
        self.all(self.set_up, new)
        return [time.monotonic() - started]

    def end(self, count):
        old = list(range(len(self.places) - count, len(self.places)))
        started = time.monotonic()
        self.all(self.tear_down, old)
        took = time.monotonic() - started
        for number in old:
            subprocess.run(['umount', self.places[number]], check=True)
            os.unlink(self.places[number])
        del self.places[old[0]:]
        return [took]

    def namespace(self, number):
        path = f'{self.directory}/ns-{number}'
        open(path, 'w').close()
        subprocess.run(['unshare', '--net', 'mount', '--bind', '/proc/self/ns/net', path], check=True)
        return path

    def all(self, what, numbers):
        """One after the other, as podman has it under its lock: two netavarks at once trip over each other's chains."""
        for number in numbers:
            for words, environment, text, out in what(number):
                source, target = self.file(text), os.open(out, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
                actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, target, 1)]
                _, status = os.waitpid(os.posix_spawn(words[0], words, environment, file_actions=actions), 0)
                os.close(source)
                os.close(target)
                if status != 0:
                    raise RuntimeError(f'{self.kind}: exit {os.waitstatus_to_exitcode(status)}')

    def file(self, text):
        made = os.memfd_create('input')
        os.write(made, text.encode())
        os.lseek(made, 0, os.SEEK_SET)
        return made

    def set_up(self, number):
        return self.netavark('setup', number) if self.kind == 'netavark' else self.cni_add(number)

    def tear_down(self, number):
        return self.netavark('teardown', number) if self.kind == 'netavark' else self.cni_delete(number)

    def netavark(self, what, number):
        address = f'10.89.{(number + 2) // 256}.{(number + 2) % 256}'
        ports = [{'container_port': 80, 'host_ip': '', 'host_port': 20000 + number, 'protocol': 'tcp', 'range': 1}]
        text = json.dumps({
            'container_id': f'c{number}', 'container_name': f'c{number}', 'port_mappings': ports if self.has_port else None,
            'networks': {'bench': {'static_ips': [address], 'interface_name': 'eth0'}},
            'network_info': {'bench': {
                'name': 'bench', 'id': 'b' * 64, 'driver': 'bridge', 'network_interface': 'podman1',
                'subnets': [{'subnet': '10.89.0.0/22', 'gateway': '10.89.0.1'}], 'ipv6_enabled': False, 'internal': False,
                'dns_enabled': False, 'ipam_options': {'driver': 'host-local'}}}})
        words = [NETAVARK, '--config', f'{self.directory}/config', what, self.places[number]]
        yield words, os.environ, text, f'{self.directory}/out-{number}'

    def cni_environment(self, what, number):
        return {**os.environ, 'CNI_COMMAND': what, 'CNI_CONTAINERID': f'c{number}', 'CNI_NETNS': self.places[number],
                'CNI_IFNAME': 'eth0', 'CNI_PATH': CNI}

    def cni_bridge(self):
        return {'cniVersion': '0.4.0', 'name': 'bench', 'type': 'bridge', 'bridge': 'cni0', 'isGateway': True, 'ipMasq': True,
                'hairpinMode': True, 'ipam': {'type': 'host-local', 'dataDir': f'{self.directory}/ipam',
                'routes': [{'dst': '0.0.0.0/0'}], 'ranges': [[{'subnet': '10.88.0.0/22'}]]}}

    def cni_portmap(self, number):
        result = json.load(open(f'{self.directory}/out-{number}'))
        ports = [{'hostPort': 20000 + number, 'containerPort': 80, 'protocol': 'tcp'}]
        return {'cniVersion': '0.4.0', 'name': 'bench', 'type': 'portmap', 'capabilities': {'portMappings': True},
                'runtimeConfig': {'portMappings': ports}, 'prevResult': result}

    def cni_add(self, number):
        environment = self.cni_environment('ADD', number)
        yield [f'{CNI}/bridge'], environment, json.dumps(self.cni_bridge()), f'{self.directory}/out-{number}'
        if self.has_port:
            yield [f'{CNI}/portmap'], environment, json.dumps(self.cni_portmap(number)), '/dev/null'

    def cni_delete(self, number):
        environment = self.cni_environment('DEL', number)
        if self.has_port:
            yield [f'{CNI}/portmap'], environment, json.dumps(self.cni_portmap(number)), '/dev/null'
        yield [f'{CNI}/bridge'], environment, json.dumps(self.cni_bridge()), '/dev/null'


def whole_boxes(work, rounds, results):
    """From nothing until nothing is left: podman's, and herd's engine's."""
    herd = [('herd, none', Herd('herd, none', work, 'five+net')), ('herd, bridge', Herd('herd, bridge', work, 'five+bridge')),
            ('herd, bridge and a port', Herd('herd, bridge and a port', work, 'five+port'))]

    def by_herd(server):
        def one():
            return server.ask('+ 1')[0] + server.ask('- 1')[0]
        return one

    runs = [(name, by_herd(server)) for name, server in herd]
    podman, runtime = shutil.which('podman'), shutil.which('crun') or shutil.which('runc')
    if podman and runtime:
        base = [podman, '--root', '/run/ps', '--runroot', '/run/pr', '--tmpdir', '/run/pt', '--network-config-dir', '/run/pn',
                '--network-backend', 'netavark', '--cgroup-manager', 'cgroupfs', '--runtime', runtime, '--events-backend', 'none',
                'run', '--rm', '--cgroups', 'disabled', '--ulimit', 'host']
        for name, words in [('none', ['none']), ('bridge', ['bridge']), ('bridge and a port', ['bridge', '-p', '20000:80'])]:
            command = [*base, '--network', *words, '--rootfs', f'{work}/root', '/bin/true']

            def by_podman(command=command):
                started = time.monotonic()
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                return time.monotonic() - started

            runs.append((f'podman, {name}', by_podman))
    try:
        for number in range(rounds + 1):
            random.shuffle(runs)
            for name, one in runs:
                took = one()
                if number > 0:
                    results.add('whole', name, [took])
    finally:
        for _, server in herd:
            server.close()
