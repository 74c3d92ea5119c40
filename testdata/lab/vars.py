# Run by drgn: the variables that it knows in the frames of every task, as JSON.
import json

import drgn
from drgn.helpers.linux.cpumask import for_each_present_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import idle_task, task_cpu

SCALARS = (drgn.TypeKind.INT, drgn.TypeKind.BOOL, drgn.TypeKind.ENUM, drgn.TypeKind.POINTER)


def bare(t):
    while t.kind == drgn.TypeKind.TYPEDEF:
        t = t.type
    return t


def variable(frame, name):
    try:
        x = frame[name]
        if x.absent_:
            return None
        if bare(x.type_).kind in SCALARS:
            return {"value": str(int(x.value_()))}
        if x.address_ is not None:
            return {"address": hex(x.address_)}
        return {"bytes": x.to_bytes_().hex()}
    except Exception:
        return None


out = []
tasks = [idle_task(prog, cpu) for cpu in for_each_present_cpu(prog)] + list(for_each_task(prog))
for task in tasks:
    try:
        trace = prog.stack_trace(task)
    except Exception:
        continue
    inline = 0
    for frame in trace:
        try:
            pc, names = frame.pc, frame.locals()
        except Exception:
            continue
        for name in dict.fromkeys(names):
            known = variable(frame, name)
            if known is not None:
                known.update(tid=task.pid.value_(), cpu=int(task_cpu(task)), pc=hex(pc), inline=inline, function=frame.name, name=name)
                out.append(known)
        inline = inline + 1 if frame.is_inline else 0
print(json.dumps({"version": drgn.__version__, "variables": out}))
