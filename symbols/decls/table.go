package decls

import (
	"strings"
	"sync"
)

// declarations, by subsystem. Of several for one name the newest comes first, with the release that changed it; one that
// names a type which this kernel lacks is passed over. So is one whose "when struct.member:" is not true of it.
const declarations = `
struct task_struct init_task;
struct mm_struct init_mm;
struct cred init_cred;
struct nsproxy init_nsproxy;
struct fs_struct init_fs;
struct files_struct init_files;
struct signal_struct init_signals;
struct sighand_struct init_sighand;
struct pid init_struct_pid;
struct pid_namespace init_pid_ns;
struct uts_namespace init_uts_ns;
struct user_namespace init_user_ns;
struct ipc_namespace init_ipc_ns;
struct cgroup_namespace init_cgroup_ns;
struct time_namespace init_time_ns;
struct task_struct *kthreadd_task;
struct list_head kthread_create_list;
int nr_threads;
int max_threads;
int pid_max;
unsigned long total_forks;
struct pid *cad_pid;
enum system_states system_state;

struct list_head modules;
unsigned long tainted_mask;
char *saved_command_line;
char boot_command_line[2048];
const char linux_banner[];
const char linux_proc_banner[];
unsigned long avenrun[3];
unsigned long loops_per_jiffy;
struct cpuinfo_x86 boot_cpu_data;
struct boot_params boot_params;
struct e820_table *e820_table;
unsigned int cpu_khz;
unsigned int tsc_khz;
const char *dmi_ident[DMI_STRING_MAX];

atomic_t panic_cpu;
int crashing_cpu;
int panic_on_oops;
int panic_on_warn;
int panic_timeout;
unsigned long panic_on_taint;
unsigned long panic_print;
int oops_in_progress;
int die_owner;
atomic_t oops_count;
atomic_t warn_count;
unsigned int sysctl_oops_all_cpu_backtrace;
unsigned int sysctl_hung_task_panic;
unsigned long sysctl_hung_task_timeout_secs;
int watchdog_thresh;
struct kimage *kexec_crash_image;
struct kimage *kexec_image;
struct resource crashk_res;
struct resource crashk_low_res;
struct resource iomem_resource;
struct resource ioport_resource;
struct atomic_notifier_head panic_notifier_list;
note_buf_t *crash_notes;
u32 *vmcoreinfo_note;
size_t vmcoreinfo_size;

struct printk_ringbuffer *prb;
struct printk_ringbuffer printk_rb_static;
struct latched_seq clear_seq; /* 5.13 */
u64 clear_seq;
char *log_buf;
u32 log_buf_len;
char __log_buf[];
u64 log_first_seq;
u64 log_next_seq;
u32 log_first_idx;
u32 log_next_idx;
int console_printk[4];
struct hlist_head console_list;
struct console *console_drivers;

unsigned long volatile jiffies;
u64 jiffies_64;
unsigned long tick_nsec;
struct tk_data tk_core; /* 6.13 */
struct { seqcount_raw_spinlock_t seq; struct timekeeper timekeeper; } tk_core; /* 5.10 */
struct { seqcount_t seq; struct timekeeper timekeeper; } tk_core;
struct clocksource *curr_clocksource;
struct list_head clocksource_list;

struct mem_section **mem_section;
struct pglist_data *node_data[];
struct pglist_data contig_page_data;
struct page *mem_map;
atomic_long_t vm_node_stat[NR_VM_NODE_STAT_ITEMS];
atomic_long_t vm_zone_stat[NR_VM_ZONE_STAT_ITEMS];
atomic_long_t vm_numa_event[NR_VM_NUMA_EVENT_ITEMS]; /* 5.14 */
atomic_long_t vm_numa_stat[NR_VM_NUMA_STAT_ITEMS];
atomic_long_t _totalram_pages; /* 5.0 */
unsigned long totalram_pages;
unsigned long totalreserve_pages;
unsigned long totalcma_pages;
unsigned long max_pfn;
unsigned long max_low_pfn;
unsigned long min_low_pfn;
void *high_memory;
struct memblock memblock;
nodemask_t node_states[NR_NODE_STATES];
struct list_head slab_caches;
struct kmem_cache *kmem_cache;
struct list_head vmap_area_list;
struct rb_root vmap_area_root;
struct list_head free_vmap_area_list;
struct rb_root free_vmap_area_root;
struct vmap_node *vmap_nodes; /* 6.9 */
unsigned int nr_vmap_nodes;
struct vm_struct *vmlist;
struct swap_info_struct *swap_info[];
unsigned int nr_swapfiles;
atomic_long_t nr_swap_pages;
long total_swap_pages;
struct plist_head swap_active_head;
struct address_space *swapper_spaces[];
struct hstate hstates[];
int hugetlb_max_hstate;
unsigned int default_hstate_idx;
struct mem_cgroup *root_mem_cgroup;
struct list_head shrinker_list;
void *pcpu_base_addr;
int pcpu_unit_size;
struct list_head *pcpu_chunk_lists; /* 5.14 */
struct list_head *pcpu_slot;
struct percpu_counter vm_committed_as;
int sysctl_overcommit_memory;
int sysctl_overcommit_ratio;
unsigned long sysctl_overcommit_kbytes;

unsigned long page_offset_base;
unsigned long vmalloc_base;
unsigned long vmemmap_base;
unsigned long phys_base;
unsigned int __pgtable_l5_enabled;
unsigned int pgdir_shift;
unsigned int ptrs_per_p4d;
u64 sme_me_mask;
phys_addr_t physical_mask;
gate_desc idt_table[256];
const sys_call_ptr_t sys_call_table[];
const sys_call_ptr_t ia32_sys_call_table[];
struct apic *apic;

struct cpumask __cpu_possible_mask;
struct cpumask __cpu_online_mask;
struct cpumask __cpu_present_mask;
struct cpumask __cpu_active_mask;
struct cpumask __cpu_dying_mask;
atomic_t __num_online_cpus;
unsigned int nr_cpu_ids;
unsigned long __per_cpu_offset[];

struct task_group root_task_group;
struct list_head task_groups;
struct root_domain def_root_domain;
struct cgroup_root cgrp_dfl_root;
struct list_head cgroup_roots;
struct css_set init_css_set;
struct cgroup_subsys *cgroup_subsys[CGROUP_SUBSYS_COUNT];
struct list_head workqueues;
struct idr worker_pool_idr;
struct workqueue_struct *system_wq;
struct rcu_state rcu_state;

struct maple_tree sparse_irqs; /* 6.5 */
struct xarray irq_desc_tree; /* 4.20: struct radix_tree_root became another name of it */
struct radix_tree_root irq_desc_tree;
int nr_irqs;
unsigned int total_nr_irqs; /* 6.13 */
struct softirq_action softirq_vec[NR_SOFTIRQS];
when file_system_type.list: struct hlist_head file_systems; /* 7.2 */
struct file_system_type *file_systems;
struct list_head super_blocks;
struct char_device_struct *chrdevs[255];
struct blk_major_name *major_names[255];
struct kobj_map *cdev_map;
struct hlist_bl_head *dentry_hashtable;
struct hlist_head *inode_hashtable;
struct hlist_head *mount_hashtable;
struct hlist_head *mountpoint_hashtable;
struct super_block *blockdev_superblock;
struct kset *bus_kset;
struct kset *class_kset;
struct kset *devices_kset;
struct kset *module_kset;
struct class block_class;
struct bus_type pci_bus_type;
struct list_head pci_root_buses;
struct list_head tty_drivers;
struct list_head input_dev_list;

struct net init_net;
struct list_head net_namespace_list;
struct inet_hashinfo tcp_hashinfo;
struct udp_table udp_table;
struct raw_hashinfo raw_v4_hashinfo;
struct neigh_table arp_tbl;
struct neigh_table nd_tbl;
struct neigh_table *neigh_tables[NEIGH_NR_TABLES];
struct hlist_head unix_socket_table[512]; /* until 5.19 */
struct list_head ptype_all;
struct list_head pernet_list;

struct idr prog_idr;
struct idr map_idr;
struct idr link_idr;
struct idr btf_idr;
struct hlist_head kprobe_table[64];
struct ftrace_ops *ftrace_ops_list;
struct list_head ftrace_trace_arrays;
struct trace_array global_trace;
struct list_head ftrace_events;
struct tracer *trace_types;
struct rb_root key_serial_tree;
struct rb_root key_user_tree;
struct hlist_head uidhash_table[128];

struct rq runqueues;
struct cpuhp_cpu_state cpuhp_state;
struct timer_base timer_bases[];
struct hrtimer_cpu_base hrtimer_bases;
struct tick_device tick_cpu_device;
struct tick_sched tick_cpu_sched;
struct task_struct *current_task;
struct pcpu_hot pcpu_hot;
int cpu_number;
struct cpuinfo_x86 cpu_info;
struct tss_struct cpu_tss_rw;
struct gdt_page gdt_page;
struct irq_stack *hardirq_stack_ptr;
struct irq_stack irq_stack_backing_store;
struct cea_exception_stacks *cea_exception_stacks;
struct exception_stacks exception_stacks;
struct cpu_entry_area *cpu_entry_area;
irq_cpustat_t irq_stat;
unsigned int mce_exception_count;
unsigned int mce_poll_count;
atomic_t irq_err_count;
atomic_t irq_mis_count;
struct file_lock_list_struct file_lock_list;
struct kernel_cpustat kernel_cpustat;
struct kernel_stat kstat;
struct tasklet_head tasklet_vec;
struct tasklet_head tasklet_hi_vec;
struct worker_pool cpu_worker_pools[2];
struct softnet_data softnet_data;
struct vm_event_state vm_event_states;
struct llist_head call_single_queue;
struct rcu_data rcu_data;
struct task_struct *ksoftirqd;
unsigned long process_counts;
struct kprobe *current_kprobe;
struct kprobe_ctlblk kprobe_ctlblk;
unsigned long watchdog_touch_ts;
unsigned long cpu_hardirq_time;
`

// declaration is one line of the table.
type declaration struct {
	text         string
	when, member string // a struct that must have a member; "" if there is no condition
}

// table maps a global's name to its declarations.
var table = sync.OnceValue(func() map[string][]declaration {
	out := make(map[string][]declaration)
	for line := range strings.Lines(declarations) {
		var d declaration
		text, _, _ := strings.Cut(line, "/*")
		if cond, rest, ok := strings.Cut(text, ": "); ok {
			d.when, d.member, _ = strings.Cut(strings.TrimPrefix(cond, "when "), ".")
			text = rest
		}
		d.text = strings.TrimSpace(text)
		if name := declaredName(d.text); name != "" {
			out[name] = append(out[name], d)
		}
	}
	return out
})

// declaredName is the last word before any brackets, which is the name in all of the declarations above.
func declaredName(decl string) string {
	decl = strings.TrimSuffix(decl, ";")
	decl, _, _ = strings.Cut(decl[strings.LastIndexByte(decl, '}')+1:], "[")
	return decl[strings.LastIndexAny(decl, " *")+1:]
}
