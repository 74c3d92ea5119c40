package commands

import (
	"fmt"

	"kdx/analyze/signal"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func sigCommand() *Command {
	return &Command{
		Name: "sig", Group: "tasks", Summary: "what tasks do about signals, and which are pending", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"[-g] [pid | task | name]…", "-l", "-s SET"},
		Flags: []Flag{
			{Name: "g", Help: "all threads of the process"},
			{Name: "l", Help: "numbers and names of the signals", Needs: NeedsNothing},
			{Name: "s", Arg: "SET", Help: "the signals of a set, a hexadecimal number as the other forms show it", Needs: NeedsNothing},
		},
		Help: "For each signal: the address of its k_sigaction, the handler in user space, the signals blocked meanwhile, and the flags. Then the signals that the " +
			"task blocks and those that wait for it: sent to the thread itself (private) or to its process (shared). SIGPENDING says whether one of them is not blocked.",
		Examples: []Example{{"sig 1", "a process"}, {"sig -s 10002", "which signals a set means"}, {"foreach user sig -g | grep -B3 SIGINFO", "who has signals queued"}},
		Run:      runSig,
	}
}

func runSig(c *Call) (view.Result, error) {
	if err := onlyOne(c, "l", "s", "g"); err != nil {
		return nil, err
	}
	switch {
	case c.Flags.Has("l"):
		out := view.SignalNames{}
		for n := 1; n <= signal.Last; n++ {
			out = append(out, view.SignalName{Signal: n, Names: signal.Names(n)})
		}
		return out, nil
	case c.Flags.Has("s"):
		set, ok := parseHex(c.Flags.Value("s"))
		if !ok {
			return nil, &UsageError{c.Cmd.Name, c.Flags.Value("s") + " is no set of signals: it is a hexadecimal number"}
		}
		return &view.SignalSet{Set: vmem.Addr(set), Names: signal.SetNames(set)}, nil
	}
	xs, err := selectTasks(c, c.Args)
	if err != nil {
		return nil, err
	}
	t, err := c.State.Tasks(c.View)
	if err != nil {
		return nil, err
	}
	out := view.Signals{}
	done := make(map[int32]bool)
	for _, x := range xs {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		threads := []*task.Task{x}
		if c.Flags.Has("g") && !x.Idle {
			if done[x.TGID] {
				continue
			}
			done[x.TGID] = true
			threads = t.Threads(x)
		}
		s, err := signals(c, threads)
		if err != nil {
			return nil, err
		}
		s.Group = c.Flags.Has("g")
		out = append(out, *s)
	}
	return out, nil
}

// signals reads those of threads of one process, of which the first stands for all.
func signals(c *Call, threads []*task.Task) (*view.SignalState, error) {
	var out *view.SignalState
	for _, x := range threads {
		s, err := signal.Of(c.View, fmt.Sprintf("PID %d", x.PID), x.Addr)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = &view.SignalState{TaskHeader: header(x), Struct: s.Struct, NRThreads: s.NRThreads, Actions: signalActions(s.Actions), Shared: signalQueue(s.Shared)}
		}
		t := view.ThreadSignals{TaskHeader: header(x), Blocked: (*vmem.Addr)(s.Blocked), Private: signalQueue(s.Private)}
		if set, known := s.Deliverable(); known {
			pending := set != 0
			t.Pending = &pending
		}
		out.Threads = append(out.Threads, t)
	}
	return out, nil
}

func signalActions(list []signal.Action) []view.SignalAction {
	var out []view.SignalAction
	for i, a := range list {
		h := fmt.Sprintf("%x", a.Handler)
		switch a.Handler {
		case 0:
			h = "SIG_DFL"
		case 1:
			h = "SIG_IGN"
		}
		out = append(out, view.SignalAction{Signal: i + 1, Addr: a.Addr, Handler: h, Mask: vmem.Addr(a.Mask), Flags: vmem.Addr(a.Flags), Names: signal.FlagNames(a.Flags)})
	}
	return out
}

func signalQueue(p *signal.Pending) *view.SignalQueue {
	if p == nil {
		return nil
	}
	out := &view.SignalQueue{Set: vmem.Addr(p.Set), Queue: []view.QueuedSignal{}}
	for _, q := range p.Queue {
		out.Queue = append(out.Queue, view.QueuedSignal{Signal: q.Sig, Code: q.Code, SigQueue: q.Addr, Info: q.Info})
	}
	return out
}
