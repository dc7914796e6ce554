#!/usr/bin/env python3
"""table.py results.jsonl… : markdown tables. Of several repeats the median, in brackets the best."""
import json
import statistics
import sys
from collections import defaultdict

# measurement -> (heading, key, digits, whether more is better)
COLUMNS = {
    'burst': [('start, ms', 'start_ms', 0, False), ('CPU of all, ms', 'cpu_all_ms', 0, False),
              ('CPU of the manager, ms', 'cpu_manager_ms', 0, False)],
    'start': [('start, ms', 'start_ms', 0, False), ('CPU all, ms', 'cpu_all_ms', 0, False),
              ('CPU manager, ms', 'cpu_manager_ms', 0, False), ('PSS, KiB', 'pss_kb', 0, False),
              ('processes', 'processes', 0, False), ('kill -9 to new process, p50 ms', 'restart_ms.p50', 2, False),
              ('p95', 'restart_ms.p95', 2, False), ('status of one, ms', 'status_one_ms.p50', 1, False),
              ('of all, ms', 'status_all_ms.p50', 1, False), ('restart command, ms', 'restart_command_ms.p50', 1, False),
              ('stop all, ms', 'stop_ms', 0, False), ('idle wake-ups/s', 'idle_wakeups_per_s', 1, False)],
    'flap': [('restarts/s', 'restarts_per_s', 0, True), ('manager CPU per restart, µs', 'manager_us_per_restart', 0, False),
             ('status of a bystander, p50 ms', 'status_one_ms.p50', 1, False), ('given up', 'given_up', 0, False)],
    'delays': [('kill -9 six times in a row, ms', 'delays_ms', None, False)],
    'orphans': [('orphans/s', 'per_s', 0, True), ('CPU of PID 1 each, µs', 'pid1_us_per_orphan', 1, False),
                ('left', 'left', 0, False)],
}
TITLES = {'burst': 'Start of {n} services', 'start': '{n} idle services', 'flap': '{n} services that exit at once',
          'delays': 'Delays as shipped', 'orphans': 'Reaping 10,000 orphans as PID 1'}


def value(row, key):
    for part in key.split('.'):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def cell(rows, key, digits, more_is_better):
    values = [v for v in (value(row, key) for row in rows) if v is not None]
    if not values:
        return '–'
    if digits is None:
        return ', '.join('never' if x is None else str(x) for x in values[0])
    middle, best = statistics.median(values), (max if more_is_better else min)(values)
    text = f'{middle:,.{digits}f}'
    return text if len(values) == 1 or f'{best:,.{digits}f}' == text else f'{text} ({best:,.{digits}f})'


def main():
    groups = defaultdict(lambda: defaultdict(list))
    for path in sys.argv[1:]:
        with open(path) as lines:
            for row in map(json.loads, lines):
                n = row['n'] if '{n}' in TITLES[row['what']] else None
                groups[(row['what'], n)][row['manager']].append(row)
    for (what, n), by_manager in groups.items():
        columns = COLUMNS[what]
        print(f'\n### {TITLES[what].format(n=f"{n:,}" if n else n)}\n')
        print('| manager | ' + ' | '.join(heading for heading, *_ in columns) + ' |')
        print('|---|' + '---|' * len(columns))
        for manager, rows in by_manager.items():
            good = [row for row in rows if 'error' not in row]
            name = f'**{manager}**' if manager.startswith('herd') else manager
            if good:
                print(f'| {name} | ' + ' | '.join(cell(good, *column[1:]) for column in columns) + ' |')
            for row in rows:
                if 'error' in row:
                    print(f'\n{manager}: {row["error"]}\n', file=sys.stderr)


if __name__ == '__main__':
    main()
