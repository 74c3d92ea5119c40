package main

import (
	"context"
	"time"
)

// way is a way to die. The guest prepares it (guest die NAME); what the host must do once the guest is ready stands here.
type way struct {
	name  string
	short string
	host  func(ctx context.Context, v *vm) error
	// panics is what the log must say.
	panics string
	// task is the name of the task that panics, "" if it can be any.
	task string
}

func ways() []way {
	return []way{
		{name: "sysrq", short: "echo c > /proc/sysrq-trigger", panics: "sysrq triggered crash", task: "lab-die"},
		{name: "nmi", short: "a non-maskable interrupt nobody knows", panics: "NMI: Not continuing",
			host: func(_ context.Context, v *vm) error { return v.monitor("inject-nmi", nil) }},
		{name: "serial", short: "BREAK and c on the serial line: inside a hard interrupt", panics: "sysrq triggered crash",
			host: func(_ context.Context, v *vm) error {
				if err := v.monitor("chardev-send-break", map[string]any{"id": "con"}); err != nil {
					return err
				}
				time.Sleep(200 * time.Millisecond) // the driver must see the break before the letter
				_, err := v.serial.Write([]byte("c"))
				return err
			}},
		{name: "oom", short: "out of memory, panic_on_oom", panics: "Out of memory"},
		{name: "hung", short: "a task hung in uninterruptible sleep, hung_task_panic", panics: "hung_task: blocked tasks", task: "khungtaskd"},
		{name: "usermode", short: "sysrq-c while the other CPU is in user mode", panics: "sysrq triggered crash", task: "lab-die"},
		{name: "traced", short: "sysrq-c below kprobes, the function graph tracer and BPF programs", panics: "sysrq triggered crash", task: "lab-die"},
	}
}

// variant is another shape of the machine or of the dump.
type variant struct {
	name   string
	cpu    string // QEMU -cpu
	params string // kernel command line
	qemu   bool   // QEMU saves the dump from outside instead of a capture kernel
	inside bool   // the capture kernel boots, and QEMU saves the dump in its middle
}

func variants() []variant {
	return []variant{
		{name: "nokaslr", params: "nokaslr"},
		{name: "5level", cpu: "max"},
		{name: "nopti", params: "nopti"},
		{name: "slub-debug", params: "slub_debug=FZPU page_poison=1"},
		{name: "qemu-dump", qemu: true},
		{name: "qemu-5level", qemu: true, cpu: "max"},
		{name: "in-capture", inside: true},
		{name: "many", params: "kdxlab.workers=320"},
	}
}

func wayNames() (names []string) {
	for _, w := range ways() {
		names = append(names, w.name)
	}
	return names
}

func variantNames() (names []string) {
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}
