package initd

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// off are settings under /proc/sys that would turn a mishap of the capture kernel into a second panic, or a start of a stage into a failure. The command line of the host and the
// kernel's own configuration may have set them. What a kernel does not have is not missed.
var off = []string{
	"kernel/panic_on_oops", "kernel/panic_on_warn", "kernel/hung_task_panic", "kernel/softlockup_panic", "kernel/hardlockup_panic", "kernel/panic_on_rcu_stall",
	"kernel/max_rcu_stall_to_panic", "kernel/panic_on_io_nmi", "kernel/panic_on_unrecovered_nmi", "kernel/unknown_nmi_panic", "kernel/panic_on_stackoverflow",
	"kernel/warn_limit", "kernel/oops_limit", "kernel/nmi_watchdog", "vm/panic_on_oom", "vm/overcommit_memory", "vm/oom_kill_allocating_task",
}

// panicSeconds is what kernel.panic becomes where a second panic would stand still for ever.
const panicSeconds = "10"

// setKnobs switches off what would end the capture kernel early, and makes sure that its own panic reboots. It returns what it changed, and what it could not.
func setKnobs(sys *System) (changed []string, err error) {
	var failed []error
	set := func(name, value string) {
		path := sys.path("/proc/sys/" + name)
		old, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		was := strings.TrimSpace(string(old))
		if err == nil && was == strings.TrimSpace(value) {
			return
		}
		if err == nil {
			err = writeExisting(path, value)
		}
		if err != nil {
			failed = append(failed, err)
			return
		}
		changed = append(changed, fmt.Sprintf("%s %s (was %s)", strings.ReplaceAll(name, "/", "."), strings.TrimSpace(value), was))
	}
	for _, name := range off {
		set(name, "0")
	}
	if b, err := os.ReadFile(sys.path("/proc/sys/kernel/panic")); err == nil && strings.TrimSpace(string(b)) == "0" {
		set("kernel/panic", panicSeconds)
	}
	// Without it the kernel drops our lines when there are more than a few at once. It wants the end of a line.
	set("kernel/printk_devkmsg", "on\n")
	// Huge pages would make small heaps large.
	if path := sys.path("/sys/kernel/mm/transparent_hugepage/enabled"); exists(path) {
		if err := writeExisting(path, "never"); err != nil {
			failed = append(failed, err)
		}
	}
	return changed, errors.Join(failed...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// writeExisting writes a file that must be there: O_CREATE means nothing in proc and sysfs.
func writeExisting(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
