package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxTurns is how often a guest may begin that dies by itself.
const maxTurns = 3

// What the scripts in testdata/lab/guest say.
const (
	saidFirst     = "kdx-lab: first kernel" // init begins
	saidTruth     = "kdx-lab: truth saved"  // the workload is done
	saidDying     = "kdx-lab: dying by "    // the trigger is pulled now
	saidLives     = "kdx-lab: lives"        // a guest that is not to crash has done all
	saidPowerDown = "reboot: Power down"    // by the kernel: the guest ends as a script wants
)

// otherKernels are the first words of what runs in a capture kernel: the kernel before it has died, even if its last words never reached the console.
var otherKernels = []string{"kdx: this is kdx-init", "kdx-lab: capture kernel"}

// guest is a machine to start, whose kernel must not die before it has done its part.
type guest struct {
	name string   // for the log
	args []string // QEMU's
	log  string   // the file that takes the console of the last turn
	// done is what the guest says once its part is done; one of these is enough. What it dies of later was asked of it.
	done []string
	// fresh makes anew what a guest that died may have written to; nil if there is nothing such.
	fresh func(context.Context) error
	// qemu is what runs it.
	qemu emulator
}

// run starts a guest and waits until its part is done. The position is behind what says so. Emulated on several threads, a kernel now and then dies
// while it patches its own code, or finds its timer too late on a busy machine: such a guest has another turn, which is logged.
func (l *lab) run(ctx context.Context, g guest) (*vm, int, error) {
	for turn := 1; ; turn++ {
		v, err := start(ctx, g.qemu, g.args, g.log)
		if err != nil {
			return nil, 0, err
		}
		_, at, err := v.wait(ctx, 0, bootLimit, saidFirst)
		if err == nil {
			_, _, err = v.wait(ctx, at, bootLimit, slices.Concat(g.done, otherKernels, []string{saidPanic})...)
		}
		console, ended := v.console()
		why, at := died(console, ended, g.done)
		if why == "" && err == nil {
			return v, at, nil
		}
		v.stop()
		switch {
		case why == "" || ctx.Err() != nil:
			return nil, 0, fmt.Errorf("%w; console in %s", err, g.log)
		case turn == maxTurns:
			return nil, 0, fmt.Errorf("the guest died by itself, %d times: %s; console in %s", turn, why, g.log)
		}
		l.logf("%s: the guest died by itself: %s; turn %d of %d", g.name, why, turn+1, maxTurns)
		if g.fresh != nil {
			if err := g.fresh(ctx); err != nil {
				return nil, 0, err
			}
		}
	}
}

const saidPanic = "Kernel panic - not syncing"

// deadly is a panic, or what a kernel says of an exception that it has no answer to: its name and, on x86, "0000 [#1]".
var deadly = regexp.MustCompile(`(?m)^.*(?:` + saidPanic + `|: [0-9a-f]{4} \[#[0-9]+\]).*$`)

// strayBreakpoint is the exception of a kernel that patched its own code while another processor ran it. Only emulation does that.
var strayBreakpoint = regexp.MustCompile(`(?m)^.*int3: [0-9a-f]{4} \[#[0-9]+\].*$`)

// died says how a guest's kernel died before it said one of done; "" if it did not, and then the position behind what it said, 0 if it lives on without.
func died(console string, ended bool, done []string) (why string, at int) {
	for _, text := range done {
		if i := strings.Index(console, text); i >= 0 && (at == 0 || i+len(text) < at) {
			at = i + len(text)
		}
	}
	if at > 0 || strings.Contains(console, saidPowerDown) {
		return "", at
	}
	if line := deadly.FindString(console); line != "" {
		return strings.TrimSpace(line), 0
	}
	for _, text := range otherKernels {
		if strings.Contains(console, text) {
			return "without a word; the capture kernel runs", 0
		}
	}
	switch {
	case !strings.Contains(console, saidFirst):
		return "it never came to its init", 0
	case ended:
		return "the machine went away", 0
	}
	return "", 0
}
