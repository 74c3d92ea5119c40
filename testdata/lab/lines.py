# Run by drgn: where each frame of every task's stack comes from, as JSON. Stacks are those of stacks.py.
import json
import sys

import drgn
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import idle_task, task_cpu


def frames(task):
    out = []
    for f in prog.stack_trace(task):
        try:
            pc = hex(f.pc)
        except LookupError:
            continue
        file, line, column = "", 0, 0
        try:
            file, line, column = f.source()
        except LookupError:
            pass
        out.append({"pc": pc, "name": f.name, "inline": f.is_inline, "file": file, "line": line, "column": column})
    return out


def stack(t):
    d = {"tid": t.pid.value_(), "cpu": int(task_cpu(t)), "frames": []}
    try:
        d["frames"] = frames(t)
    except Exception:  # a stack that drgn cannot unwind has no lines
        pass
    return d


tasks = [stack(idle_task(prog, cpu)) for cpu in for_each_present_cpu(prog)]
tasks += [stack(t) for t in for_each_task(prog)]
json.dump({"version": "drgn " + drgn.__version__, "tasks": tasks}, sys.stdout)
