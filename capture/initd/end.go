package initd

import (
	"time"

	"golang.org/x/sys/unix"
)

// act ends the machine: reboot(2), then sysrq, then the end of PID 1, upon which the kernel panics and kernel.panic reboots. It returns only where there is no machine to end.
func (in *initd) act(action string) {
	if !in.sys.PID1 {
		in.log.say("not PID 1: the machine goes on")
		return
	}
	in.dogs.end(action == "halt")
	in.log.say("%s", action)
	in.log.drain()
	commands := map[string]uint32{"reboot": unix.LINUX_REBOOT_CMD_RESTART, "poweroff": unix.LINUX_REBOOT_CMD_POWER_OFF, "halt": unix.LINUX_REBOOT_CMD_HALT}
	command, ok := commands[action]
	if !ok {
		command = commands["reboot"]
	}
	// reboot(2) shuts drivers down, and one may hang in that for ever.
	failed := make(chan error, 1)
	go func() { failed <- in.sys.Reboot(command) }()
	select {
	case err := <-failed:
		if err == nil {
			return // of a test; or the kernel has halted, and this thread does not run any more
		}
		in.log.say("%s: %v", action, err)
	case <-time.After(actionLimit):
		in.log.say("%s does not come to an end within %v", action, actionLimit)
	}
	in.sysrq()
}

// sysrq restarts the machine without asking any driver. It works whatever kernel.sysrq says.
func (in *initd) sysrq() {
	in.log.say("restarting by sysrq")
	in.log.drain()
	if err := writeExisting(in.sys.path("/proc/sysrq-trigger"), "b"); err != nil {
		in.log.say("sysrq: %v: PID 1 ends now, the kernel panics, and reboots if kernel.panic is set", err)
		in.log.drain()
	}
}
