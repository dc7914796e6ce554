#!/usr/bin/env python3
"""cleanup.py : kills and removes what an interrupted run left; only inside the harness's own cgroups."""
import os
import shutil
import time
from pathlib import Path

from harness import WORK_ROOT, Group

for root in Group.ROOTS:
    for group in Path(root, 'herdbench').glob('hb-*'):
        print(group, 'gone' if Group(group.name).kill() else 'still busy')
for root in ('/sys/fs/cgroup/unified', '/sys/fs/cgroup'):
    for group in Path(root).glob('herdbench-hb-*'):
        (group / 'cgroup.kill').write_text('1')
        time.sleep(.5)
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)
        print(group, 'gone')
for work in Path(WORK_ROOT).glob('hb-*'):
    shutil.rmtree(work, ignore_errors=True)
