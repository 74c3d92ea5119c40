package main

import (
	"strconv"
	"strings"
)

// crashManualRest are lines of crash's manual, from mach to whatis: each flag, and the combinations that its help pages show.
var crashManualRest = []crashText{
	{command: "mach -c"},
	{command: "mach -cx"},
	{command: "mach -cd"},
	{command: "mod"},
	{command: "mod -t"},
	{command: "mount -n 1"},
	{command: "net -n"},
	{command: "net -N 1041236234"},
	{command: "net -N 0x0100007f"},
	{command: "net -s"},
	{command: "net -S"},
	{command: "net -Sx 1"},
	{command: "net -S -d 1"},
	{command: "net -s 1 2"},

	{command: "px jiffies", same: unnumbered},
	{command: "pd jiffies", same: unnumbered},
	{command: "p/x jiffies", same: unnumbered},
	{command: "p irq_stat"},
	{command: "p runqueues"},
	{command: "p init_mm", same: unnumbered},
	{command: "p -x init_mm", same: unnumbered},
	{command: "p &init_task", same: unnumbered},
	{command: "p sizeof(struct task_struct)", same: unnumbered},
	{command: "p init_cred", same: unnumbered},
	{command: "p log_wait", same: unnumbered},
	{command: "p x86_hyper_type", same: unnumbered},
	{command: "p/d 0xff", same: unnumbered},
	{command: "p/t 5", same: unnumbered},
	{command: "p/c 65", same: unnumbered},
	{command: "p/o 8", same: unnumbered},
	{command: "p/z 5", same: unnumbered},

	{command: "ps", same: processLine},
	{command: "ps -k", same: processLine},
	{command: "ps -u", same: processLine},
	{command: "ps -G", same: processLine},
	{command: "ps -s", same: processLine},
	{command: "ps -us", same: processLine},
	{command: "ps -ks", same: processLine},
	{command: "ps -kG", same: processLine},
	{command: "ps -Gu", same: processLine},
	{command: "ps -A", same: processLine},
	{command: "ps -AH", same: processLine},
	{command: "ps -AHs", same: processLine},
	{command: "ps -H", same: processLine},
	{command: "ps -Hk", same: processLine},
	{command: "ps -y 0", same: processLine},
	{command: "ps -y NORMAL", same: processLine},
	{command: "ps -y fifo,rr", same: processLine},
	{command: "ps -y 1,5", same: processLine},
	{command: "ps init kthreadd 3", same: processLine},
	{command: "ps 1 {task}", same: processLine},
	{command: "ps -p"},
	{command: "ps -p 2"},
	{command: "ps -c 1"},
	{command: "ps -c 2"},
	{command: "ps -c init kthreadd"},
	{command: "ps -t 0", same: startTimes},
	{command: "ps -t 1 2", same: startTimes}, // of all, crash has another order
	{command: "ps -l"},
	{command: "ps -lk"},
	{command: "ps -l -u"},
	{command: "ps -l -C0"},
	{command: "ps -l -C a"},
	{command: "ps -m"},
	{command: "ps -m -C 0,1"},
	{command: "ps -a", same: func(line string) string { // what crash says of kernel threads on the way, it sends elsewhere
		if line == "ps: no user stack" || line == "(no user memory)" {
			return ""
		}
		return line
	}},
	{command: "ps -g 1"},
	{command: "ps -r"},
	{command: "ps -rk"},
	{command: "ps -S", sorted: true}, // crash goes by which state it meets first

	{command: "pte d8e067"},
	{command: "pte 8000000001234063 67 0"},
	{command: "ptob 512a 1 fff"},
	{command: "ptov 56e000 1000"},
	{command: "ptov b0c0:a"},
	{command: "ptov b0c0:0-1"},
	{command: "ptov b0c0:"},
	{command: "rd jiffies"},
	{command: "rd -d jiffies"},
	{command: "rd -D __per_cpu_offset 5"},
	{command: "rd -d __per_cpu_offset 5"},
	{command: "rd -32 -d __per_cpu_offset 5"},
	{command: "rd -8 linux_banner 20"},
	{command: "rd -16 linux_banner 20"},
	{command: "rd -32 linux_banner 20"},
	{command: "rd -64 linux_banner 20"},
	{command: "rd -8 -x linux_banner 20"},
	{command: "rd -16 -x linux_banner 20"},
	{command: "rd -x linux_banner 20"},
	{command: "rd -8 -D linux_banner 20"},
	{command: "rd -16 -D linux_banner 20"},
	{command: "rd -a linux_banner"},
	{command: "rd -a linux_banner 20"},
	{command: "rd -8 -a linux_banner 8"},
	{command: "rd -s sys_call_table 20"},
	{command: "rd -S {task} 60"},
	{command: "rd -SS {task} 60"},
	{command: "rd -SS -x {task} 4"},
	{command: "rd -R linux_banner 4"},
	{command: "rd -R -32 linux_banner 5"},
	{command: "rd -R -8 linux_banner 5"},
	{command: "rd -o 8 linux_banner 4"},
	{command: "rd -o 0x10 linux_banner 4"},
	{command: "rd {task} -e {tasks}"},
	{command: "rd -f 40 4"},

	{command: "runq -t"},
	{command: "runq -m"},
	{command: "runq -d"},

	{command: "set"},
	{command: "set {task}"},
	{command: "set -c 1"},
	{command: "set -p"},
	{command: "sig -s 800A000000000201"},
	{command: "sig -s 0"},
	{command: "sig 1 2"},

	{command: "struct -ox list_head"},
	{command: "struct list_head.next"},
	{command: "struct -o list_head.next"},
	{command: "struct task_struct.se"},
	{command: "struct list_head.next,prev modules"}, // no comma behind the last
	{command: "struct list_head modules 2"},
	{command: "struct -c 2 -x list_head modules"},
	{command: "struct list_head modules -c -2"},
	{command: "struct list_head.next modules 2"},
	{command: "struct rq.cpu runqueues:"},
	{command: "struct rq.cpu runqueues:0"},
	{command: "struct rq.cpu,nr_running runqueues:0,1"},
	{command: "struct -o rq.cpu runqueues:a"},
	{command: "struct -r task_struct {task}"},
	{command: "struct -r list_head.next {tasks}"},
	{command: "struct -r list_head modules 2"},
	{command: "struct -p task_struct.files {task}"},
	{command: "struct -p task_struct.cred,sched_class {task}"},
	{command: "struct -px task_struct.comm,mm {task}"},
	{command: "task_struct.pid,comm {task}"},
	{command: "list_head.next modules -o"},
	{command: "* task_struct.pid {task}"},
	{command: "union -x sigval"},

	{command: "sym init_task"},
	{command: "sym {init_task}"},
	{command: "sym jiffies"},
	{command: "sym -p init_task"},
	{command: "sym -n init_task"},
	{command: "sym -np init_task"},
	{command: "sym schedule", same: lineless},
	{command: "sys -t", more: true}, // with the reasons
	{command: "sys -i"},

	{command: "task"},
	{command: "task 1"},
	{command: "task -x 1"},
	{command: "task -d 1"},
	{command: "task 1 2"},
	{command: "task -R mm,comm 1 2"},
	{command: "task -R flags,mm,cpu 1"},
	{command: "task -x -R flags,thread_info 1"},
	{command: "task -R se.vruntime 1"},
	{command: "task -R thread 1"},

	{command: "vm"},
	{command: "vm -x 1", same: pathLine},
	{command: "vm -d 1", same: pathLine},
	{command: "vm -mx 1"},
	{command: "vm -md 1"},
	{command: "vm -vx 1"},
	{command: "vm -f 75"},
	{command: "vm -R 400000 1"},
	{command: "vm -R 401000 1"},
	{command: "vm -R busybox 1"},

	{command: "waitq kauditd_wait"},
	{command: "whatis task_struct"},
	{command: "whatis -o list_head"},
	{command: "whatis list_head"},
	{command: "whatis jiffies"},
	{command: "whatis init_task"},
	{command: "whatis schedule"},
	{command: "whatis pid_t"},
	{command: "whatis &init_task"},
	{command: "whatis init_task.comm"},
	{command: "whatis runqueues"},
	{command: "whatis linux_banner"},
	{command: "whatis union sigval"},
	{command: "whatis enum pid_type"},
	{command: "whatis PIDTYPE_PID"},
	{command: "whatis spinlock_t"},
	{command: "whatis 1+1"},
}

// processLine is a row of ps, without two columns: PPID is the parent's process to kdx, as in /proc, to crash the thread that made the task;
// %MEM is of the memory that the kernel manages, to crash of all that the machine has, what was reserved for the capture kernel too.
func processLine(line string) string {
	mark := ""
	if rest, ok := strings.CutPrefix(line, "> "); ok {
		mark, line = "> ", rest
	}
	f := strings.Fields(line)
	if len(f) < 9 {
		return mark + line
	}
	if _, err := strconv.Atoi(f[0]); err != nil {
		return mark + line
	}
	return mark + strings.Join([]string{f[0], f[2], f[3], f[4], f[6], f[7], strings.Join(f[8:], " ")}, " ")
}

// startTimes: crash drops the fraction of the second in which a task started, and takes HZ to be 1000 where it does not find it.
func startTimes(line string) string {
	if strings.HasPrefix(line, "RUN TIME:") {
		return ""
	}
	return line
}

// lineless is a line of sym without the source line, which kdx has when a vmlinux is given.
func lineless(line string) string {
	f := strings.Fields(line)
	return strings.Join(f[:min(3, len(f))], " ")
}
