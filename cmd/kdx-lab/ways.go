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

	machine []string // QEMU's processors, memory and buses, where the machine is not the plain one,
	mem     string   // the memory that these come to,
	bus     string   // and the bus that its disk is on
	modules []string // loaded in the guest besides those of all
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
		{name: "numa", params: "possible_cpus=6 kernelcore=600M", machine: nodesMachine, mem: "1024M", bus: "port0", modules: nodesModules},
		{name: "qemu-numa", qemu: true, params: "possible_cpus=6 kernelcore=600M", machine: nodesMachine, mem: "1024M", bus: "port0", modules: nodesModules},
	}
}

// nodesModules are for devices of the network that stand on others, and for those behind bridges.
var nodesModules = []string{"8021q", "bonding", "macvlan", "vxlan", "vrf", "virtio_pci", "virtio-rng"}

// nodesMachine has three nodes: one with memory on both sides of a hole, one, and one without processors. Of its processors one is possible
// and was never there; the guest takes two away. There are bridges behind bridges.
var nodesMachine = []string{
	"-machine", "q35,max-ram-below-4g=384M", "-m", "1024M", "-smp", "5,maxcpus=6",
	"-object", "memory-backend-ram,id=m0,size=512M", "-numa", "node,nodeid=0,memdev=m0,cpus=0-1,cpus=5",
	"-object", "memory-backend-ram,id=m1,size=128M", "-numa", "node,nodeid=1,memdev=m1,cpus=2-4",
	"-object", "memory-backend-ram,id=m2,size=384M", "-numa", "node,nodeid=2,memdev=m2",
	"-numa", "dist,src=0,dst=1,val=21", "-numa", "dist,src=0,dst=2,val=31", "-numa", "dist,src=1,dst=2,val=41",
	"-device", "pcie-root-port,id=port0,chassis=1,slot=1", "-device", "pcie-root-port,id=port1,chassis=2,slot=2",
	"-device", "pcie-root-port,id=port2,chassis=3,slot=3", // nothing is behind it
	"-device", "pcie-pci-bridge,id=bridge0,bus=port1", "-device", "pci-bridge,id=bridge1,bus=bridge0,chassis_nr=9,addr=1",
	"-device", "virtio-rng-pci,bus=bridge1,addr=3", "-device", "virtio-rng-pci,bus=bridge0,addr=2",
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
