//go:build linux && amd64

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guestVerbs are what the scripts in testdata/lab/guest call inside the guest, as root, on a machine that is about to crash.
func guestVerbs() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"arm":        guestArm,
		"truth":      guestTruth,
		"die":        guestDie,
		"sockets":    guestSockets,
		"ipc":        guestIPC,
		"swapon":     guestSwapon,
		"memory":     guestMemory,
		"files":      guestFiles,
		"threads":    guestThreads,
		"states":     guestStates,
		"sched":      guestSched,
		"cgroups":    guestCgroups,
		"bpf":        guestBPF,
		"trace":      guestTrace,
		"frozen":     guestFrozen,
		"spin":       guestSpin,
		"actor":      guestActor,
		"nobody":     guestNobody,
		"block":      guestBlock,
		"neighbours": guestNeighbours,
		"links":      guestLinks,
		"nodes":      guestNodes,
	}
}

func runGuest(_ context.Context, _ *lab, args []string) error {
	if !strings.Contains(readText("/proc/cmdline"), "kdxlab.way=") {
		return fmt.Errorf("this runs only inside a guest of the lab")
	}
	if len(args) == 0 {
		return errUsage
	}
	verb, ok := guestVerbs()[args[0]]
	if !ok {
		return fmt.Errorf("no verb %q", args[0])
	}
	// Notify in main turns SIGINT and SIGTERM into a context that nobody in the guest looks at.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	// Threads inherit the name, so that a dump shows which part a task belongs to.
	if err := writeText("/proc/self/comm", "lab-"+args[0]); err != nil {
		return err
	}
	return verb(args[1:])
}

func writeText(path, text string) error {
	return os.WriteFile(path, []byte(text), 0o644)
}

// setup collects what a part could not set up, so that one missing feature of a kernel does not cost the rest: it is said on the
// console and can be seen in console.log.
type setup struct{ part string }

func (s setup) try(what string, err error) bool {
	if err != nil {
		fmt.Printf("kdx-lab: %s: %s: %v\n", s.part, what, err)
	}
	return err == nil
}

// ready tells the scripts that the part stands.
func (s setup) ready() {
	s.try("ready", writeText("/run/ready/"+s.part, ""))
}

// hold keeps the process, and so all that it holds, until the machine dies. It sleeps in the kernel without waking up.
func hold() error {
	for {
		if err := unix.Pause(); err != nil && err != unix.EINTR {
			time.Sleep(time.Hour)
		}
	}
}

// name sets the name of the calling thread.
func name(s string) {
	p, err := unix.BytePtrFromString(s)
	if err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(p)), 0, 0, 0)
	}
}

// guestNobody runs a program as a user without rights.
func guestNobody(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	const nobody = 65534
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd.Run()
}

// guestArm loads the capture kernel. kexec_file_load lets the kernel itself build the ELF header of /proc/vmcore.
func guestArm(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	image, err := os.Open(args[0])
	if err != nil {
		return err
	}
	initrd, err := os.Open(args[1])
	if err != nil {
		return err
	}
	cmdline := "console=ttyS0 irqpoll nr_cpus=1 reset_devices edd=off panic=-1"
	if err := unix.KexecFileLoad(int(image.Fd()), int(initrd.Fd()), cmdline, unix.KEXEC_FILE_ON_CRASH); err != nil {
		return fmt.Errorf("kexec_file_load: %w", err)
	}
	fmt.Println("kdx-lab: armed")
	return nil
}

// guestDie prepares a way to die, says so, and does it.
func guestDie(args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	way := args[0]
	runtime.LockOSThread()
	name("lab-die") // the name of the task that panics
	set := map[string][][2]string{
		"nmi":  {{"kernel/unknown_nmi_panic", "1"}},
		"oom":  {{"vm/panic_on_oom", "2"}},
		"hung": {{"kernel/hung_task_timeout_secs", "8"}, {"kernel/hung_task_panic", "1"}},
	}
	for _, kv := range set[way] {
		if err := writeText("/proc/sys/"+kv[0], kv[1]); err != nil {
			return err
		}
	}
	// The processor the spinner is not on.
	var cpus unix.CPUSet
	cpus.Set(0)
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		return err
	}
	kmsg("kdx-lab: dying by " + way)
	switch way {
	case "sysrq":
		f, err := os.OpenFile("/proc/sysrq-trigger", os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return queued(func() error {
			_, err := f.WriteString("c")
			return err
		})
	case "usermode", "traced":
		return writeText("/proc/sysrq-trigger", "c")
	case "oom":
		return eatMemory()
	case "nmi": // the first processor gets the interrupt: let it be busy in the kernel, and now and then in user mode
		for {
			readText("/proc/self/maps")
		}
	}
	return hold() // hung: the frozen tasks do it; serial: the host does it
}

// kmsg writes to the kernel's log, which reaches the console too.
func kmsg(s string) {
	_ = writeText("/dev/kmsg", s+"\n")
}

// eatMemory takes memory until there is none.
func eatMemory() error {
	const step = 8 << 20
	for {
		b, err := unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += 64 { // not compressible: zram must fill up too
			b[i] = byte(i*7) ^ byte(i>>9)
			b[i+9] = byte(i * 31)
		}
	}
}

// pids lists the numbered entries of a directory of /proc.
func pids(dir string) []int {
	entries, _ := os.ReadDir(dir)
	var out []int
	for _, e := range entries {
		if n, err := strconv.Atoi(filepath.Base(e.Name())); err == nil {
			out = append(out, n)
		}
	}
	return out
}
