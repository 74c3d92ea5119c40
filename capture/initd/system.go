package initd

import (
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// System is the machine as PID 1 sees it. Tests put a tree and functions of their own in its place.
type System struct {
	// Root is put before every path that the supervisor itself uses; "" in the capture kernel.
	Root string
	// PID1 says whether ending the machine is ours to do.
	PID1 bool
	// CPUs is how many there are.
	CPUs int
	// Self is how a stage is started: the program and what stands before the stage's name.
	Self []string
	// Env is added to the environment of stages.
	Env []string

	Mount       func(source, target, fstype string, flags uintptr, data string) error
	Reboot      func(command uint32) error
	SetHostname func(name string) error
}

// Machine is the real one.
func Machine() System {
	return System{
		PID1:  os.Getpid() == 1,
		CPUs:  runtime.NumCPU(),
		Self:  []string{"/proc/self/exe"},
		Mount: unix.Mount,
		// Through int32, as int has no room for some of the commands where it has 32 bits; the kernel takes the low 32.
		Reboot:      func(command uint32) error { return unix.Reboot(int(int32(command))) },
		SetHostname: func(name string) error { return unix.Sethostname([]byte(name)) },
	}
}

// path is a path of the machine.
func (s *System) path(name string) string {
	if s.Root == "" {
		return name
	}
	return filepath.Join(s.Root, name)
}

// Limits that no configuration moves. Variables, so that tests need not wait for them.
var (
	// quitGrace is how long a stage that is asked to end may take; a stage of ours writes down where its goroutines are.
	quitGrace = 5 * time.Second
	// killGrace is how long a killed process is waited for. One that sits in the kernel can't be killed: it is left behind.
	killGrace = 10 * time.Second
	// sampleFirst is when the memory of a stage is first looked at; then after twice the time, up to sampleMost.
	sampleFirst = 10 * time.Millisecond
	sampleMost  = 200 * time.Millisecond
	// feedLeast is the shortest time between two feedings of a watchdog.
	feedLeast = time.Second
	// modulesLimit bounds loading of all modules. Drivers probe in there, and a controller may take half a minute to be reset.
	modulesLimit = 5 * time.Minute
	// mountLimit comes on top of device-timeout: a journal that is replayed takes its time.
	mountLimit = 5 * time.Minute
	// clockLimit and logLimit bound small stages; logLimit includes a file sent over the network.
	clockLimit = 30 * time.Second
	logLimit   = 2 * time.Minute
	// saveGrace is what a save may take beyond save-timeout, to end by itself and tidy up.
	saveGrace = 30 * time.Second
	// syncLimit bounds unmounting and sync: the dump itself has been synced by then.
	syncLimit = time.Minute
	// actionLimit is how long reboot(2) may take before sysrq does it.
	actionLimit = time.Minute
	// failurePause leaves the last lines on the screen when nothing was saved.
	failurePause = 5 * time.Second
)
