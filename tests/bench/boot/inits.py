"""One class per init. configure() writes what it needs into an empty tree that is laid over the root; `command` is
what becomes PID 1; `end` is a shell script that asks it to switch the machine off. Nothing else has to change.
"""
from pathlib import Path

ALL = {}
RACER = '/usr/bin/racer'
OFF = f'{RACER} off'


def write(tree, path, text, mode=0o644):
    file = Path(tree) / path.lstrip('/')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)


def script(tree, path, text, shell='/bin/sh'):
    write(tree, path, f'#!{shell}\n{text}\n', 0o755)


def link(tree, path, target):
    file = Path(tree) / path.lstrip('/')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(target)


class Init:
    name = ''
    program = ''                          # must be in the root
    command = ()
    end = ''
    note = ''

    def __init_subclass__(cls):
        if cls.name:
            ALL[cls.name] = cls()

    def configure(self, tree, n):
        raise NotImplementedError


class Herd(Init):
    name = 'herd'
    program = '/sbin/init'
    command = ('/sbin/init',)
    end = 'herd shutdown'
    note = 'boots as shipped: file systems, devices, logins'
    more = ''

    def configure(self, tree, n):
        for i in range(n):
            unit = f'command = "{RACER} {n}"\n{self.more}'
            write(tree, f'/etc/herd/available/svc{i}.toml', unit)
            link(tree, f'/etc/herd/enabled/svc{i}.toml', f'../available/svc{i}.toml')


class HerdBare(Herd):
    name = 'herd-bare'
    command = ('/sbin/init', 'herd.unit=bench')
    note = 'a target of the services alone, which wait for nothing'
    more = 'default_dependencies = false\n'

    def configure(self, tree, n):
        super().configure(tree, n)
        write(tree, '/etc/herd/available/bench.toml', 'kind = "target"\ndefault_dependencies = false\n')


class Systemd(Init):
    name = 'systemd'
    program = '/lib/systemd/systemd'
    command = ('/lib/systemd/systemd',)
    end = 'kill -s RTMIN+4 1 2>/dev/null || kill -38 1'
    note = 'multi-user.target as shipped'
    target, section = 'multi-user', ''

    def configure(self, tree, n):
        units = '/etc/systemd/system'
        link(tree, f'{units}/default.target', f'/lib/systemd/system/{self.target}.target')
        for i in range(n):
            write(tree, f'{units}/svc{i}.service',
                  f'[Unit]\nDescription=svc {i}\n{self.section}[Service]\nExecStart={RACER} {n}\n')
            link(tree, f'{units}/{self.target}.target.wants/svc{i}.service', f'../svc{i}.service')


class SystemdBare(Systemd):
    name = 'systemd-bare'
    note = 'a target of the services alone, without default dependencies'
    target, section = 'bench', 'DefaultDependencies=no\n'

    def configure(self, tree, n):
        super().configure(tree, n)
        units = Path(tree) / 'etc/systemd/system'
        (units / 'default.target').unlink()
        write(tree, '/etc/systemd/system/bench.target',
              '[Unit]\nDescription=bench\nDefaultDependencies=no\nAllowIsolate=yes\n')
        link(tree, '/etc/systemd/system/default.target', 'bench.target')


class Sysvinit(Init):
    """Respawn lines: the fastest that sysvinit knows."""
    name = 'sysvinit'
    program = '/sbin/init.sysvinit'
    command = ('/sbin/init.sysvinit',)
    end = '/sbin/init.sysvinit 0'
    note = 'respawn lines of inittab'

    def configure(self, tree, n):
        lines = [f'{i:04x}:2:respawn:{RACER} {n}' for i in range(n)]
        write(tree, '/etc/inittab', '\n'.join(['id:2:initdefault:', f'l0:0:wait:{OFF}', *lines, '']))


class SysvinitRc(Sysvinit):
    name = 'sysvinit-rc'
    note = 'a serial rc of start-stop-daemon scripts'

    def configure(self, tree, n):
        script(tree, '/etc/rc', 'for i in /etc/rc.race/*; do $i $1; done')
        for i in range(n):
            daemon = f'--pidfile /run/svc{i}.pid --exec {RACER}'
            script(tree, f'/etc/rc.race/svc{i}',
                   f'case $1 in\nstart) start-stop-daemon --start --background --make-pidfile {daemon} -- {n} ;;\n'
                   f'stop) start-stop-daemon --stop --quiet {daemon} ;;\nesac')
        write(tree, '/etc/inittab',
              f'id:2:initdefault:\nl2:2:wait:/etc/rc start\nl0:0:wait:/etc/rc stop\no0:0:wait:{OFF}\n')


class OpenRc(Init):
    name = 'openrc'
    program = '/sbin/openrc'
    command = ('/sbin/init.sysvinit',)
    end = '/sbin/init.sysvinit 0'
    note = 'under sysvinit, serial'

    def configure(self, tree, n):
        # Those that Debian's packages bring would start too.
        for level in ('sysinit', 'boot', 'default', 'shutdown'):
            (Path(tree) / 'etc/runlevels' / level).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            script(tree, f'/etc/init.d/svc{i}',
                   f'command={RACER}\ncommand_args={n}\ncommand_background=yes\npidfile=/run/svc{i}.pid',
                   '/sbin/openrc-run')
            link(tree, f'/etc/runlevels/default/svc{i}', f'/etc/init.d/svc{i}')
        write(tree, '/etc/inittab',
              'id:3:initdefault:\nsi::sysinit:/sbin/openrc sysinit\nrc::bootwait:/sbin/openrc boot\n'
              f'l3:3:wait:/sbin/openrc default\nl0:0:wait:/sbin/openrc shutdown\no0:0:wait:{OFF}\n')


class Runit(Init):
    name = 'runit'
    program = '/sbin/runit'
    command = ('/sbin/runit',)
    end = 'touch /run/runit.stopit; chmod 100 /run/runit.stopit; kill -CONT 1'

    def configure(self, tree, n):
        script(tree, '/etc/runit/1', 'exit 0')
        script(tree, '/etc/runit/2', 'exec runsvdir -P /etc/service')
        script(tree, '/etc/runit/3', f'sv -w196 force-stop /etc/service/*\nsv exit /etc/service/*\n{OFF}')
        for i in range(n):
            script(tree, f'/etc/service/svc{i}/run', f'exec {RACER} {n}')


class S6(Init):
    name = 's6'
    program = '/usr/bin/s6-svscan'
    end = 's6-svscanctl -t /etc/s6'

    def configure(self, tree, n):
        self.command = ('/usr/bin/s6-svscan', '-c', str(n + 10), '/etc/s6')
        script(tree, '/etc/s6/.s6-svscan/finish', OFF)
        for i in range(n):
            script(tree, f'/etc/s6/svc{i}/run', f'{RACER} {n}', '/usr/bin/execlineb -P')


class Finit(Init):
    name = 'finit'
    program = '/sbin/finit'
    command = ('/sbin/finit',)
    end = '/lib/finit/initctl poweroff'

    def configure(self, tree, n):
        lines = [f'service name:svc{i} :{i} [2345] {RACER} {n} -- svc {i}' for i in range(n)]
        write(tree, '/etc/finit.conf', '\n'.join(['runlevel 2', *lines, '']))
        (Path(tree) / 'etc/finit.d').mkdir(parents=True, exist_ok=True)


class Dinit(Init):
    """Not in Debian 12; raced where $DINIT names a binary and dinitctl lies beside it."""
    name = 'dinit'
    program = '/usr/bin/dinit'
    command = ('/usr/bin/dinit', '-d', '/etc/dinit.d')
    end = 'dinitctl shutdown'

    def configure(self, tree, n):
        write(tree, '/etc/dinit.d/boot', 'type = internal\nwaits-for.d: boot.d\n')
        for i in range(n):
            write(tree, f'/etc/dinit.d/svc{i}', f'type = process\ncommand = {RACER} {n}\n')
            link(tree, f'/etc/dinit.d/boot.d/svc{i}', f'../svc{i}')
