package commands

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"kdx/analyze/view"
)

func repeatCommand() *Command {
	return &Command{
		Name: "repeat", Group: "session", Summary: "run a command again and again", Raw: true, Complete: "command", Prompt: true,
		Usage: []string{"[-SECONDS] COMMAND [argument]…"},
		Help: "Runs the command until Ctrl-C stops it, on a running kernel, whose memory changes; between two runs it waits the seconds given, at least a tenth of one. " +
			"The memory of a dump does not change, so that there it is refused.",
		Examples: []Example{{"repeat -1 p jiffies", "once a second"}, {"repeat -0.5 runq -m", "what runs, twice a second"}},
		Run:      runRepeat,
	}
}

// leastPause keeps a repeated command from taking all of a CPU of the very machine that is looked at.
const leastPause = 100 * time.Millisecond

func runRepeat(c *Call) (view.Result, error) {
	words := c.Args
	pause := leastPause
	if len(words) > 0 {
		if s, ok := strings.CutPrefix(words[0], "-"); ok {
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || !(n >= 0 && n <= 86400) {
				return nil, &UsageError{c.Cmd.Name, s + " are no seconds"}
			}
			pause = max(pause, time.Duration(n*float64(time.Second)))
			words = words[1:]
		}
	}
	if len(words) == 0 {
		return nil, &UsageError{c.Cmd.Name, "which command?"}
	}
	cmd := c.State.Command(words[0])
	switch {
	case cmd == nil:
		return nil, &UsageError{c.Cmd.Name, "there is no command " + words[0]}
	case cmd.Prompt:
		return nil, &UsageError{c.Cmd.Name, words[0] + " can't be repeated"}
	case !c.View.Live():
		return nil, fmt.Errorf("a dump does not change: %s would say the same each time (repeat is for a running kernel)", words[0])
	}
	inner, err := c.inner(cmd, words[1:])
	if err != nil {
		return nil, err
	}
	return &repeated{call: inner, pause: pause}, nil
}

// repeated runs its command each time that it is written; there is no end but the user's.
type repeated struct {
	call  *Call
	pause time.Duration
}

func (r *repeated) each(write func(view.Result) error) error {
	ctx := r.call.View.Context()
	for {
		v := r.call.View.Fork() // each run has its own budget
		once := *r.call
		once.View = v
		result, err := once.Cmd.Run(&once)
		if err == nil && result != nil {
			err = write(result)
		}
		r.call.View.Merge(v)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.pause):
		}
		r.call.State.Refresh()
	}
}

// Text writes one answer below the other.
func (r *repeated) Text(w io.Writer, o view.Options) error {
	return r.each(func(result view.Result) error { return result.Text(w, o) })
}

// StreamJSON writes an array of answers, which ends where the user stops it.
func (r *repeated) StreamJSON(w io.Writer) error {
	sep := "["
	err := r.each(func(result view.Result) error {
		if _, err := io.WriteString(w, sep); err != nil {
			return err
		}
		sep = ","
		return view.WriteJSON(w, result)
	})
	if sep == "," {
		if _, e := io.WriteString(w, "]"); e != nil {
			return e
		}
	}
	return err
}
