package resolved

import (
	"kdx/symbols"
	"kdx/symbols/btf"
)

// wanted is what choosing pages (exclude), the self-check (proof), the log and the first page of a case (triage) ask of types. What is not
// here is looked for in the dump's own types: this list decides how much of the dump must be whole, not what is right. A test has all of them work on
// dumps whose own types can't be read.
var wanted = btf.Wanted{
	Types: append(
		structs(
			// pages and where they are
			"page", "folio", "slab", "mem_section", "pglist_data", "zone", "free_area", "per_cpu_pages", "per_cpu_pageset", "hstate", "list_head",
			// slabs
			"kmem_cache", "kmem_cache_cpu", "kmem_cache_node", "slub_percpu_sheaves", "slab_sheaf", "node_barn", "percpu_counter",
			// tasks
			"task_struct", "thread_struct", "thread_info", "signal_struct", "sighand_struct", "files_struct", "fs_struct", "cred", "nsproxy", "pid", "upid", "pid_namespace", "css_set",
			"idr", "xarray", "xa_node", "radix_tree_node", "rq", "cfs_rq", "sched_entity", "uts_namespace", "new_utsname", "ntp_data", "kernel_cpustat",
			// memory of processes, and what the kernel maps
			"mm_struct", "vm_area_struct", "maple_tree", "maple_node", "maple_range_64", "maple_arange_64", "rb_root", "rb_node", "vmap_area", "vmap_node", "vm_struct", "pcpu_chunk",
			// stacks
			"pt_regs", "inactive_task_frame", "tss_struct", "cea_exception_stacks", "exception_stacks", "entry_stack", "pcpu_hot", "ftrace_ops", "ftrace_ret_stack", "rethook_node", "kretprobe_instance",
			// modules and what has no file
			"module", "module_layout", "module_memory", "mod_kallsyms", "module_sect_attrs", "module_sect_attr", "module_notes_attrs", "bpf_ksym", "bpf_prog", "latch_tree_node", "btf_module",
			// files
			"super_block", "inode", "address_space", "dentry", "mount", "vfsmount", "file",
			// the log before 5.10
			"printk_log",
		),
		btf.Name{Kind: symbols.Union, Name: "thread_union"},
		btf.Name{Kind: symbols.Enum, Name: "pageflags"},
		btf.Name{Kind: symbols.Enum, Name: "pagetype"},
		btf.Name{Kind: symbols.Enum, Name: "migratetype"},
		btf.Name{Kind: symbols.Enum, Name: "compound_dtor_id"},
		btf.Name{Kind: symbols.Enum, Name: "mod_mem_type"},
	),
	Constants: []string{"SECTION_MAP_LAST_BIT", "__NR_PAGEFLAGS", "PG_slab", "PGTY_slab", "MIGRATE_PCPTYPES", "NR_SWAPCACHE",
		"NR_ANON_MAPPED", "NR_FILE_MAPPED", "NR_FILE_PAGES", "NR_FREE_PAGES", "NR_KERNEL_STACK_KB", "NR_PAGETABLE", "NR_SHMEM",
		"NR_SLAB_RECLAIMABLE_B", "NR_SLAB_UNRECLAIMABLE_B", "NR_SLAB_RECLAIMABLE", "NR_SLAB_UNRECLAIMABLE"},
}

func structs(tags ...string) []btf.Name {
	var out []btf.Name
	for _, t := range tags {
		out = append(out, btf.Name{Kind: symbols.Struct, Name: t})
	}
	return out
}
