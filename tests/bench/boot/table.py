#!/usr/bin/env python3
"""table.py race.jsonl… : markdown tables, one for each engine and number of services; medians of the boots."""
import json
import statistics
import sys
from collections import defaultdict

COLUMNS = [('all services, s', 'to_all_s', 3), ('PID 1 RSS, KiB', 'pid1_rss_kb', 0),
           ('managers, PSS, KiB', 'managers_pss_kb', 0), ('PID 1 CPU, s', 'pid1_cpu_s', 2),
           ('CPU of all, s', 'cpu_all_s', 2), ('off, s', 'shutdown_s', 2)]
TITLES = {'container': 'a container on this kernel', 'machine': 'user-mode Linux'}


def cell(rows, key, digits):
    values = [row[key] for row in rows if key in row]
    return f'{statistics.median(values):,.{digits}f}' if values else '–'


def main():
    boots = defaultdict(lambda: defaultdict(list))
    for path in sys.argv[1:]:
        with open(path) as lines:
            for row in map(json.loads, lines):
                boots[(row['engine'], row['n'])][row['init']].append(row)
    for (engine, n), by_init in sorted(boots.items()):
        loads = [row['load'] for rows in by_init.values() for row in rows]
        is_rt = any(row.get('rt') for rows in by_init.values() for row in rows)
        rt = ', at real-time priority' if is_rt else ''
        print(f'\n### {n:,} services, {TITLES[engine]} (load {min(loads):.1f} to {max(loads):.1f}{rt})\n')
        print('| init | ' + ' | '.join(heading for heading, *_ in COLUMNS) + ' |')
        print('|---|' + '---|' * len(COLUMNS))
        good = {name: [row for row in rows if 'to_all_s' in row] for name, rows in by_init.items()}
        order = sorted(good, key=lambda name: statistics.median(r['to_all_s'] for r in good[name])
                       if good[name] else float('inf'))
        for name in order:
            title = f'**{name}**' if name.startswith('herd') else name
            failed = len(by_init[name]) - len(good[name])
            if failed:
                title += f' ({failed} of {len(by_init[name])} boots failed)'
            print(f'| {title} | ' + ' | '.join(cell(good[name], key, digits) for _, key, digits in COLUMNS) + ' |')


if __name__ == '__main__':
    main()
