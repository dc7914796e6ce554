"""The small container inits: they take part in `orphans` only."""
from adapters import Adapter


class ContainerInit(Adapter):
    limit = 1

    def configure(self, services, as_shipped=False):
        self.command = [self.program, '--', *services[0].command().split()]

    def argv(self):
        return self.command


class Tini(ContainerInit):
    name = program = 'tini'


class DumbInit(ContainerInit):
    name = program = 'dumb-init'


class Catatonit(ContainerInit):
    name = program = 'catatonit'
