// Kdx-lab makes real crash dumps of real kernels and holds kdx against them.
//
// It fetches Debian kernels through apt, boots them in QEMU (without KVM, so that it runs anywhere), lets one rich
// workload run in the guest, records what the guest says about itself (the truth), and crashes it in one of several
// ways. A capture kernel, or QEMU, saves the dump. Everything it makes lies in one directory outside version
// control: .lab, or the one that the environment variable KDX_LAB names.
//
//	kdx-lab fetch [KERNEL…]
//	kdx-lab crash [--kernel 6.12] [--way sysrq] [--variant nokaslr]
//	kdx-lab forms DIR…
//	kdx-lab reference DIR…
//	kdx-lab test DIR…
//	kdx-lab shown DIR…
//	kdx-lab capture
//	kdx-lab short | all
//
// It needs root, and the Debian packages qemu-system-x86, busybox-static, e2fsprogs and xz-utils; the peers to
// compare with also need debootstrap.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// command is one word after kdx-lab.
type command struct {
	name, args, short string
	hidden            bool
	run               func(ctx context.Context, l *lab, args []string) error
}

func commands() []command {
	return []command{
		{name: "fetch", args: "[--no-debug] [KERNEL…]", short: "fetch kernels with their debug files", run: runFetch},
		{name: "crash", args: "[--kernel K] [--way W] [--variant V] [--mem SIZE]", short: "crash a kernel, keep its dump and what it said before", run: runCrash},
		{name: "peers", args: "", short: "install the newest crash, drgn and makedumpfile into a chroot", run: runPeers},
		{name: "forms", args: "DIR…", short: "make every other form of a dump with makedumpfile", run: runForms},
		{name: "reference", args: "DIR…", short: "record what drgn and crash say about a dump", run: runReference},
		{name: "test", args: "[--only REGEXP] [--kdx PROGRAM] DIR…", short: "hold kdx against the truth and the references of dumps", run: runTest},
		{name: "shown", args: "[--kdx PROGRAM] DIR…", short: "name lines of testdata/lines that show nothing on any of the dumps", run: runShown},
		{name: "live", args: "[--only REGEXP] [--kdx PROGRAM] [KERNEL…]", short: "run kdx open --live in a guest and hold it against the guest's word", run: runLive},
		{name: "capture", args: "[--only REGEXP] [--kdx PROGRAM]", short: "arm guests with kdx, let them die, and look at what kdx saved", run: runCapture},
		{name: "time", args: "[--codec C,C] [--runs N] [--cpu C]", short: "how long a capture kernel takes to save, with kdx and with makedumpfile", run: runTime},
		{name: "short", args: "", short: "one panic a kernel, opened by kdx and held against the truth", run: runShort},
		{name: "all", args: "[--only REGEXP] [--kdx PROGRAM]", short: "every leg: kernels, ways to die, variants, forms", run: runAll},
		{name: "measure", args: "[--anon] PROGRAM…", short: "how long a program takes, and how much memory", run: runMeasure},
		{name: "guest", args: "VERB", short: "what runs inside the guest", hidden: true, run: runGuest},
	}
}

// errUsage says that the usage text has been printed and nothing is left to say.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		usage(stdout)
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		l, err := newLab(stdout, stderr)
		if err == nil {
			err = c.run(ctx, l, args[1:])
		}
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		}
		fmt.Fprintf(stderr, "kdx-lab %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(stderr, "kdx-lab: no command %q\n", args[0])
	usage(stderr)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "kdx-lab makes real crash dumps and holds kdx against them.")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "  %-62s %s\n", strings.TrimSpace("kdx-lab "+c.name+" "+c.args), c.short)
		}
	}
	fmt.Fprintf(w, "\nways to die: %s\nvariants:    %s\nkernels:     testdata/lab/kernels\n", strings.Join(wayNames(), " "), strings.Join(variantNames(), " "))
}

// flags returns a flag set that reports errors instead of exiting.
func flags(l *lab, name string) *flag.FlagSet {
	fs := flag.NewFlagSet("kdx-lab "+name, flag.ContinueOnError)
	fs.SetOutput(l.stderr)
	return fs
}

// parse parses args; what the flag package has already explained becomes errUsage.
func parse(fs *flag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage
	}
	return err
}
