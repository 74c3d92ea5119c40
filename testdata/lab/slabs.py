# Run by drgn: every slab cache with its counters, and all objects of some, as JSON.
import json
import sys

from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_for_each_allocated_object

walked = {
    "task_struct": "struct task_struct",
    "mm_struct": "struct mm_struct",
    "signal_cache": "struct signal_struct",
}
out = {}
for cache in for_each_slab_cache(prog):
    name = cache.name.string_().decode()
    entry = {"object_size": cache.object_size.value_(), "size": cache.size.value_()}
    if name in walked:
        entry["objects"] = sorted(o.value_() for o in slab_cache_for_each_allocated_object(cache, walked[name]))
    out.setdefault(name, []).append(entry)
json.dump(out, sys.stdout, indent=1, sort_keys=True)
