package main

import (
	"regexp"
	"strings"
)

// crashManual are lines of crash's manual, from * to log, beside those of crashTexts: each flag, and the combinations that its help pages show.
var crashManual = []crashText{
	{command: "alias px"},
	{command: "alias sf"},
	{command: "alias dmesg"},
	{command: "ascii 62696c2f7273752f"},
	{command: "ascii 62696c2f7273752f 6c 0x4142"},
	{command: "ascii 7273752f"},
	{command: "btop 512a000 0x1000 fff"},
	{command: "eval 128m"},
	{command: "eval 128 * 1m"},
	{command: "eval (1 << 27)"},
	{command: "eval (1 << 32)"},
	{command: "eval -b 41dc065"},
	{command: "eval -lb 64g"},
	{command: "eval -l -b 64g"},
	{command: "eval -b 0"},
	{command: "eval ~1"},
	{command: "eval (~1 & 0xff)"},
	{command: "eval (0x10 | 0x1)"},
	{command: "eval 7 ^ 5"},
	{command: "eval 17 % 5"},
	{command: "eval 17/5"},
	{command: "eval 5 - 7"},
	{command: "eval 3g + 5"},
	{command: "eval 4095k"},
	{command: "eval -5"},
	{command: "eval 010"},
	{command: "eval abc"},
	{command: "eval jiffies"},
	{command: "eval (init_task + 8)"},

	{command: "bpf -P -t", same: bpfNames},
	{command: "bpf -P -T", same: bpfNames},
	{command: "bpf -P -s", same: bpfNames},
	{command: "bpf -P -s -x", same: bpfNames},
	{command: "bpf -P -j", same: bpfNames, more: true}, // all functions of a program
	{command: "bpf -M -s"},
	{command: "bpf -M -sx"},

	{command: "bt 1"},
	{command: "bt {task} 2", same: frameLine},
	{command: "bt -s 1"},
	{command: "bt -sx 1"},
	{command: "bt -sd 1"},
	{command: "bt -g 1"},
	{command: "bt -f 1"},
	{command: "bt -F 1"},
	{command: "bt -FF 1"},
	{command: "bt -t 1", same: frameLine},
	{command: "bt -T 1", same: frameLine},
	{command: "bt -r 1", same: labelLess},
	{command: "bt -e 1"},
	{command: "bt -e"},
	{command: "bt -E", more: true}, // the stack of machine checks, too
	{command: "bt -E -c 0", more: true},
	{command: "bt -R do_wait 1"},
	{command: "bt -p", same: frameLine, more: true}, // the registers of the CPU, too
	{command: "bt -a", same: frameLine, more: true},
	{command: "bt -c 0-1", same: frameLine, more: true},
	{command: "foreach bt", same: frameLine, more: true},
	{command: "foreach kernel bt"},
	{command: "foreach gleader bt", same: frameLine, more: true},
	{command: "foreach active bt", same: frameLine, more: true},
	{command: "foreach UN bt", same: frameLine},
	{command: "foreach ID bt", same: frameLine},
	{command: "foreach ST bt", same: frameLine},
	{command: "foreach ZO bt", same: frameLine},
	{command: "foreach RU bt", same: frameLine, more: true},
	{command: "foreach init bt", same: frameLine},
	{command: "foreach {task} bt"},
	{command: "foreach kernel bt -R schedule"},
	{command: "foreach kernel bt -t", same: frameLine},
	{command: "foreach kernel bt -f"},
	{command: "foreach kernel bt -e", same: frameLine},
	{command: "foreach 1 task -R pid,comm"},
	{command: "foreach init task -R __state -x"},
	{command: "foreach init vm"},
	{command: "foreach 1 vm -p"},
	{command: "foreach 1 vm -m"},
	{command: "foreach 1 vm -v"},
	{command: "foreach kernel vm"},
	{command: "foreach 1 net -S", same: socketLine},
	{command: "foreach 1 ps -p"},
	{command: "foreach 1 ps -l"},
	{command: "foreach 1 ps -a"},
	{command: "foreach 1 ps -g"},
	{command: "foreach 1 ps -r"},
	{command: "foreach 1 sig -g"},
	{command: "foreach 1 vtop -u 400000", same: directoryLine},
	{command: "foreach files -c", same: fileLine},
	{command: "foreach files -R console", same: fileLine},
	{command: "foreach kernel files", same: fileLine},
	{command: "for init bt", same: frameLine},

	{command: "dev -D"},
	{command: "dis schedule", same: nopLine},
	{command: "dis schedule 5 -x", same: nopLine},
	{command: "dis -d schedule 5", same: nopLine},
	{command: "dis -r (schedule+90)", same: nopLine},
	{command: "dis -r schedule+90 3", same: nopLine},
	{command: "dis -f schedule+80"},
	{command: "dis -fx schedule+80"},
	{command: "dis (schedule+16) 3"},
	{command: "dis init_task"},
	{command: "dis init_task 3"},
	{command: "dis tcp_sendmsg", same: nopLine},
	{command: "dis vfs_read", same: nopLine},
	{command: "dis vfs_write -x", same: nopLine},

	{command: "files -R 10 1"},
	{command: "files -R {dentry} 1"},
	{command: "files -R {inode} 1"},
	{command: "files -c -R {inode} 1"},
	{command: "fuser {inode}", same: unquoted},

	{command: "ipcs -s"},
	{command: "ipcs -m"},
	{command: "ipcs -q"},
	{command: "ipcs -smq"},
	{command: "ipcs -n 1"},
	{command: "ipcs -n {task}"},
	{command: "ipcs -m 1"},
	{command: "ipcs 0"},
	{command: "irq"},
	{command: "irq -u"},
	{command: "irq -u 1"},
	{command: "irq 1 4"},
	{command: "irq -d"},
	{command: "irq -b"},
	{command: "irq -a"},
	{command: "irq -s", more: true}, // what CPUs count beside interrupts, too
	{command: "irq -s -c 0", more: true},

	{command: "kmem -s dentry", same: slabLine},
	{command: "kmem -s -I kmalloc-64,dentry", same: slabLine},
	{command: "kmem -g 4080"},
	{command: "kmem -g 17ffffc0000200"},
	{command: "kmem -s {task}"},
	{command: "kmem -S {task}"},
	{command: "kmem -S {dentry}"},
	{command: "kmem {dentry}"},
	{command: "kmem {inode}"},
	{command: "kmem -v {task}"},
	{command: "kmem -p {task}"},
	{command: "kmem -p 1fe0000"},
	{command: "kmem -m lru {task}"},
	{command: "kmem -m lru.next {task}"},
	{command: "kmem -m flags,_mapcount {task}"},

	{command: "list modules"},
	{command: "list -h modules"},
	{command: "list 8 modules"},
	{command: "list -o 8 modules"},
	{command: "list list_head.next modules"},
	{command: "list -r list_head.next modules"},
	{command: "list task_struct.tasks -h {task}"},
	{command: "list task_struct.tasks -r -h {task}"},
	{command: "list task_struct.tasks -B -h {task}"},
	{command: "list task_struct.tasks -s task_struct.se.on_rq -h {task}"},
	{command: "list task_struct.tasks -s task_struct.comm,pid,tgid -h {task}"},
	{command: "list task_struct.tasks -S task_struct.pid -h {task}"},
	{command: "list {tasks} -l task_struct.tasks -s task_struct.comm"},
	{command: "list -H modules -l 8 -s module.name"},
	{command: "list -H modules -l module.list -s module.name"},
	{command: "list -x -H modules module.list -s module.state,refcnt"},
	{command: "list -d -H modules module.list -s module.state,refcnt"},
	{command: "list -O task_struct.children -o task_struct.sibling -h {task} -s task_struct.comm"},

	{command: "log -t"},
	{command: "log -d"},
	{command: "log -m"},
	{command: "log -c"},
	{command: "log -R"},
	{command: "log -td"},
	{command: "log -tdm"},
	{command: "log -tc"},
	{command: "log -cm"},
	{command: "log -T", same: clockLess},
	{command: "log -Tm", same: clockLess},
	{command: "log -T -t"},
	{command: "dmesg"},
}

// bpfNames: kdx names the functions of programs; gdb takes the last byte of a tag for an incomplete character.
func bpfNames(line string) string {
	if strings.HasPrefix(line, "tag =") {
		return ""
	}
	return bpfLine(ofProgram.ReplaceAllString(line, ""))
}

var ofProgram = regexp.MustCompile(` <bpf_prog_[^>]*>`)

// frameLine is a line of a backtrace, without the number of the frame. crash begins the stack of the task that panicked, and of those that were
// stopped for it, below what kdx has from the CPU's registers; it leaves out suffixes that the compiler gives parts of functions; of functions
// whose code is the same it takes another name; and it says otherwise what has no stack or looks odd.
func frameLine(line string) string {
	for _, other := range []string{"(no stack)", "(it has exited", "WARNING: possibly bogus", "(no exception frames)", "---"} {
		if strings.HasPrefix(line, other) {
			return ""
		}
	}
	if strings.HasPrefix(line, "#") {
		_, line, _ = strings.Cut(line, " ")
		for _, stop := range []string{"machine_kexec", "__crash_kexec", "crash_nmi_callback", "default_do_nmi", "exc_nmi", "asm_exc_nmi", "nmi_handle"} {
			if strings.Contains(line, "] "+stop+" ") || strings.Contains(line, "] "+stop+"+") {
				return ""
			}
		}
	}
	line = partOf.ReplaceAllString(line, "")
	return sameCode.Replace(line)
}

var (
	partOf   = regexp.MustCompile(`\.(isra|part|constprop)\.\d+`)
	sameCode = strings.NewReplacer("__do_sys_", "__x64_sys_", "__se_sys_", "__x64_sys_", "do_compat_epoll_pwait", "do_epoll_pwait")
)

// labelLess is a line of bt -r: without a vmlinux kdx does not know the compiler's labels of constants.
func labelLess(line string) string {
	if strings.Contains(line, ".LC") || strings.Contains(line, " ffffffffc") {
		return ""
	}
	return partOf.ReplaceAllString(line, "")
}

// nopLine: kdx says which nop is ftrace's also behind an endbr64.
func nopLine(line string) string { return strings.TrimSuffix(line, " [FTRACE NOP]") }

// slabLine is a line of kmem -s, without the count of objects in use: crash takes those that others gave back to a CPU's slab for used.
func slabLine(line string) string {
	f := strings.Fields(line)
	if len(f) == 7 {
		f[2] = "-"
	}
	return strings.Join(f, " ")
}

// clockLess is a line of log -T, without the time: crash leaves the fraction of a second out of the time of the start.
func clockLess(line string) string {
	_, rest, ok := strings.Cut(line, "] ")
	if ok && strings.HasPrefix(line, "[") {
		return rest
	}
	return line
}
