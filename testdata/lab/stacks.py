# Run by drgn: the stack of every task, as JSON. Idle tasks are those of present CPUs: a panic takes stopped ones out of the online mask.
import json
import sys

import drgn
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import idle_task, task_cpu, task_state_to_char


def frames(task):
    out = []
    for f in prog.stack_trace(task):
        symbol = ""
        try:
            symbol = f.symbol().name
        except LookupError:
            pass
        try:
            pc = hex(f.pc)
        except LookupError:
            pc = ""
        out.append({"pc": pc, "name": f.name, "symbol": symbol, "inline": f.is_inline})
    return out


def task(t):
    d = {
        "tid": t.pid.value_(),
        "cpu": int(task_cpu(t)),
        "comm": t.comm.string_().decode("utf-8", "backslashreplace"),
        "state": task_state_to_char(t),
        "task": hex(t.value_()),
        "error": "",
        "frames": [],
    }
    try:
        d["frames"] = frames(t)
    except Exception as e:  # a stack that drgn cannot unwind is an answer too
        d["error"] = str(e)
    return d


tasks = [task(idle_task(prog, cpu)) for cpu in for_each_present_cpu(prog)]
tasks += [task(t) for t in for_each_task(prog)]
json.dump({"version": "drgn " + drgn.__version__, "tasks": tasks}, sys.stdout)
