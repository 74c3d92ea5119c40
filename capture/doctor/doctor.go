// Package doctor looks at everything between the reservation and the target, and says of each thing whether it is as it must be for a
// crash to leave a dump. It changes nothing.
package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/capture/storage"
)

// Severity says what a check that fails costs.
type Severity string

// Severities.
const (
	Fault   Severity = "fault"   // a crash now would leave no dump
	Warning Severity = "warning" // it may leave none, or a poorer one, or the host may not come back
	Note    Severity = "note"    // worth knowing
)

// State is the outcome of a check.
type State string

// States.
const (
	OK      State = "ok"
	Bad     State = "bad"
	Unknown State = "unknown" // what would have to be read can't be
	Skipped State = "skipped" // it does not apply to this host
)

// Finding is a check with its outcome.
type Finding struct {
	ID       string   `json:"id"`
	Area     string   `json:"area"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	State    State    `json:"state"`
	// Evidence is what was found, and where.
	Evidence string `json:"evidence"`
	// Todo is what to do, "" if nothing is to be done.
	Todo string `json:"todo"`
}

// Report is all findings in the order of the table.
type Report struct {
	Findings []Finding `json:"checks"`
	Faults   int       `json:"faults"`
	Warnings int       `json:"warnings"`
	Notes    int       `json:"notes"`
	// Unknown counts checks that could not be made.
	Unknown int `json:"unknown"`
}

// Options say which host is looked at.
type Options struct {
	// Root is "" for this host, or a directory that holds another host's files.
	Root string
	Arch string // Go's name; "" is this machine's
	// Version is this kdx's, as it stands in initrds.
	Version string
	// Config names the configuration, "" for the usual place.
	Config string
	// Now is the time by the host's clock.
	Now time.Time
	// Free tells what is free on the filesystem of a path, in bytes. nil asks the kernel.
	Free func(path string) (uint64, error)
	// Storage says what a block device stands on; nil for storage.Discover.
	Storage func(root, device string) (*storage.Device, error)
	// Lookup asks for addresses of a name; nil asks the resolver if this is the host itself.
	Lookup func(context.Context, string) ([]string, error)
	// Login tries a target over the network; nil leaves it untried.
	Login func(context.Context, config.Target, *config.Config) error

	// show and verify look at the initrd; nil for package initrd's.
	show   func(ctx context.Context, path string) (*initrd.Contents, error)
	verify func(ctx context.Context, path, kernel string, opt initrd.Options) (*initrd.Verdict, error)
	// admin says whether this process is root's.
	admin func() bool
}

// check is a row of the table.
type check struct {
	id       string
	area     string
	severity Severity
	// title says what should be so.
	title string
	// todo is what to do if it is not; an outcome may say it more exactly.
	todo string
	run  func(*host) outcome
}

type outcome struct {
	state    State
	evidence string
	todo     string
}

func ok(format string, args ...any) outcome  { return outcome{OK, fmt.Sprintf(format, args...), ""} }
func bad(format string, args ...any) outcome { return outcome{Bad, fmt.Sprintf(format, args...), ""} }
func unknown(format string, args ...any) outcome {
	return outcome{Unknown, fmt.Sprintf(format, args...), ""}
}
func skip(format string, args ...any) outcome {
	return outcome{Skipped, fmt.Sprintf(format, args...), ""}
}

// do says what is to be done about it.
func (o outcome) do(format string, args ...any) outcome {
	o.todo = fmt.Sprintf(format, args...)
	return o
}

// withDefaults asks the machine for what is not given.
func withDefaults(opt Options) Options {
	if opt.Arch == "" {
		opt.Arch = runtime.GOARCH
	}
	if opt.Storage == nil {
		opt.Storage = storage.Discover
	}
	if opt.Lookup == nil && opt.Root == "" {
		opt.Lookup = net.DefaultResolver.LookupHost
	}
	if opt.show == nil {
		opt.show = initrd.Show
	}
	if opt.verify == nil {
		opt.verify = initrd.Verify
	}
	if opt.admin == nil {
		opt.admin = func() bool { return opt.Root != "" || os.Geteuid() == 0 }
	}
	if opt.Free == nil {
		opt.Free = freeBytes
	}
	return opt
}

// Run makes all checks.
func Run(ctx context.Context, opt Options) (*Report, error) {
	opt = withDefaults(opt)
	h, err := newHost(ctx, opt)
	if err != nil {
		return nil, err
	}
	r := &Report{Findings: make([]Finding, 0, len(checks))}
	for i := range checks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.add(&checks[i], checks[i].run(h))
	}
	return r, nil
}

func (r *Report) add(c *check, o outcome) {
	f := Finding{ID: c.id, Area: c.area, Title: c.title, Severity: c.severity, State: o.state, Evidence: o.evidence}
	switch o.state {
	case Bad:
		if f.Todo = o.todo; f.Todo == "" {
			f.Todo = c.todo
		}
		switch c.severity {
		case Fault:
			r.Faults++
		case Warning:
			r.Warnings++
		default:
			r.Notes++
		}
	case Unknown:
		f.Todo = o.todo
		if c.severity != Note {
			r.Unknown++
		}
	}
	r.Findings = append(r.Findings, f)
}

// Blocking lists the faults.
func (r *Report) Blocking() []Finding {
	var out []Finding
	for _, f := range r.Findings {
		if f.State == Bad && f.Severity == Fault {
			out = append(out, f)
		}
	}
	return out
}
