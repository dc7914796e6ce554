"""What was measured, and the markdown tables of it."""
import statistics
from collections import defaultdict


class Results:
    """Written down as they come, so that a run that is stopped is not lost."""

    def __init__(self, path):
        self.parts = defaultdict(lambda: defaultdict(list))
        self.out = open(path, 'w', buffering=1) if path else None

    def add(self, part, name, values):
        self.parts[part][name].append(values)
        if self.out:
            print(part, name, *(f'{value:.9f}' for value in values), sep='\t', file=self.out)

    def print(self):
        for part, names in self.parts.items():
            names = dict(sorted(names.items()))
            kind, _, number = part.partition('-')
            {'place': place, 'many': many, 'whole': whole, 'traffic': traffic}[kind](names, number)


def cell(values):
    values = sorted(values)
    return f'**{statistics.median(values):,.2f}** / {values[len(values) * 9 // 10]:,.2f}'


def columns(rows):
    return [[value * 1e3 for value in column] for column in zip(*rows)]


def less(column, other):
    """What is left of it without the same box that has no network."""
    return [value - statistics.median(other) for value in column]


def place(names, number):
    beside = {'0': 'and no other is there: the bridge comes and goes with it'}.get(number, f'beside {number} that are there')
    print(f'\n### One place more and less, {beside}; ms, median / p90\n')
    times(names)


def many(names, number):
    print(f'\n### {number} at once, then all gone; ms for each, median / p90\n')
    times(names)


def times(names):
    print('| by | set up | taken down |\n|---|---|---|')
    none = columns(names.get('no network', [[0, 0]]))
    for name, rows in names.items():
        up, down = columns(rows)
        if name == 'no network':
            continue
        if name.startswith('herd'):
            print(f'| {name}, the whole box | {cell(up)} | |')
            up = less(up, none[0])
            name += ', its network'
        print(f'| {name} | {cell(up)} | {cell(down)} |')


def whole(names, _):
    print('\n### A whole box around a program that does nothing, from nothing until nothing is left; ms, median / p90\n')
    print('| by | takes | more than without |\n|---|---|---|')
    for name in sorted(names):
        column, = columns(names[name])
        none, = columns(names[name.partition(',')[0] + ', none'])
        print(f'| {name} | {cell(column)} | {statistics.median(column) - statistics.median(none):,.2f} |')


def traffic(names, what):
    unit = {'throughput': 'Gbit/s', 'connections': 'thousand a second'}[what]
    print(f'\n### {what.capitalize()}: {unit}, median, and beside a pair of interfaces with nothing between in the same round\n')
    print('| way | ' + unit + ' | ratio, median (least to most) |\n|---|---|---|')
    for name, rows in names.items():
        values, ratios = zip(*rows)
        print(f'| {name} | {statistics.median(values):,.2f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |')
