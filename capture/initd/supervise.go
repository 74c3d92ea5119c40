package initd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How a stage ended.
const (
	endDone      = "done"
	endFailed    = "failed"
	endCrashed   = "crashed"
	endNoMemory  = "out of memory"
	endKilled    = "killed"
	endDeadline  = "deadline"
	endAbandoned = "abandoned" // it sits in the kernel and can't be killed
	endNotBegun  = "not started"
)

// Stage is how a stage ended and what it took. Bytes of memory; anonymous is sampled, peak counts pages of files too.
type Stage struct {
	Name      string        `json:"name"`
	Ended     string        `json:"ended"`
	Why       string        `json:"why,omitempty"`
	At        string        `json:"at,omitempty"` // what it was doing, if it did not end by itself
	Took      time.Duration `json:"took_ns"`
	Peak      uint64        `json:"peak_bytes"`
	Anonymous uint64        `json:"anonymous_bytes"`
	Available uint64        `json:"available_bytes"` // when it began

	result json.RawMessage
}

func (s Stage) ok() bool { return s.Ended == endDone }

// died says whether the stage did not come to an end of its own, so that another way may do better.
func (s Stage) died() bool {
	return s.Ended == endCrashed || s.Ended == endNoMemory || s.Ended == endKilled
}

func (s Stage) String() string {
	text := s.Ended
	if s.Why != "" {
		text += ": " + s.Why
	}
	if s.At != "" && !s.ok() {
		text += " (it was at: " + s.At + ")"
	}
	return fmt.Sprintf("%s: %s; %.1f s, %.1f MiB anonymous, peak %.1f MiB", s.Name, text, s.Took.Seconds(), float64(s.Anonymous)/mib, float64(s.Peak)/mib)
}

// task is a stage to run.
type task struct {
	name string
	// label is what people are told, if it is not the name.
	label string
	// order is what a stage of ours reads on its standard input, args what another program is given.
	order *order
	args  []string
	limit time.Duration
	// quit is the signal that asks it to end at its deadline. Go programs answer SIGQUIT with where their goroutines are.
	quit syscall.Signal
	// console is for a person: the process gets this device and no pipes.
	console string
	// memory false: another program runs in there, for which Go's limits mean nothing.
	unlimited bool
	// written is called when the stage says that a dump was written, see report.
	written func(dir string)
}

// supervisor runs stages, one at a time. Others may have been started ahead.
type supervisor struct {
	sys    *System
	log    *journal
	reaper *reaper
	memory uint64 // the configuration's
	cpus   int

	mu     sync.Mutex
	stages []Stage
	waits  map[string]*process // started ahead
}

// run runs a stage until it ends or is ended. It always returns: within limit and the graces.
func (s *supervisor) run(ctx context.Context, t task) Stage {
	info, err := readMeminfo(s.sys.path("/proc/meminfo"))
	if t.label == "" {
		t.label = t.name
	}
	st := Stage{Name: t.label, Available: info.available}
	s.log.say("%s begins, %v, limit %v", t.label, info, t.limit)
	begin := time.Now()
	s.attempt(ctx, t, allow(info, err, s.memory), &st)
	st.Took = time.Since(begin)
	s.log.say("%v", st)
	s.mu.Lock()
	s.stages = append(s.stages, st)
	s.mu.Unlock()
	return st
}

// process is a stage's process.
type process struct {
	pid     int
	ended   <-chan exit
	pipes   *pipes
	heard   reports
	said    output
	reading sync.WaitGroup
}

// start starts a stage's process. It tries once more without job control on a console that can't have it.
func (s *supervisor) start(t task, a allowance) (*process, error) {
	pipes, err := newPipes(t.console, s.sys)
	if err != nil {
		return nil, err
	}
	env := append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux", "TMPDIR=/run"}, s.sys.Env...)
	if !t.unlimited {
		env = append(env, a.env(s.cpus)...)
	}
	argv := append([]string{"kdx-init"}, s.sys.Self[1:]...)
	argv = append(append(argv, stageWord, t.name), t.args...)
	attr := &syscall.ProcAttr{Dir: "/", Env: env, Files: pipes.files, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: t.console != ""}}
	p := &process{pipes: pipes}
	p.pid, p.ended, err = s.reaper.start(s.sys.Self[0], argv, attr)
	if err != nil && t.console != "" {
		attr.Sys.Setctty = false
		p.pid, p.ended, err = s.reaper.start(s.sys.Self[0], argv, attr)
	}
	pipes.closeChild()
	if err != nil {
		pipes.closeOurs()
		return nil, err
	}
	if t.console == "" {
		p.reading.Go(func() { p.heard.read(pipes.report) })
		p.reading.Go(func() { p.said.copy(pipes.text, s.log, t.name) })
	}
	return p, nil
}

// tell gives a process an order, upon which no other follows unless the dump is unproven. A process that does not read must not hold PID 1.
func (p *process) tell(o order) {
	go func() {
		json.NewEncoder(p.pipes.orders).Encode(o)
		if !o.Unproven {
			p.pipes.orders.Close()
		}
	}()
}

// end ends what is left of a process, and waits a little for its last words.
func (p *process) end() {
	// Children of the stage may hold the pipes; what they still would say is not waited for.
	unix.Kill(-p.pid, unix.SIGKILL)
	finished := make(chan struct{})
	go func() { p.reading.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(time.Second):
	}
	p.pipes.closeOurs()
}

func (s *supervisor) attempt(ctx context.Context, t task, a allowance, st *Stage) {
	p := s.take(t)
	if p == nil {
		var err error
		if p, err = s.start(t, a); err != nil {
			st.Ended, st.Why = endNotBegun, err.Error()
			return
		}
	} else {
		t.order.Memory = &a
	}
	p.heard.onWritten(t.written)
	if t.order != nil {
		p.tell(*t.order)
	} else if p.pipes.orders != nil {
		p.pipes.orders.Close()
	}
	how := s.watch(ctx, t, p.pid, p.ended, st)
	p.end()
	last := p.heard.get()
	st.At, st.result = last.At, last.Result
	judge(st, how, last.Error, &p.said)
}

// ending is how a process was seen to end.
type ending struct {
	exit
	// asked: it passed its deadline, or everything is over. gone: it ended; else it is left behind.
	asked, gone bool
}

// watch waits for the end of a process, looks at its memory, and ends it at its deadline.
func (s *supervisor) watch(ctx context.Context, t task, pid int, ended <-chan exit, st *Stage) ending {
	var used usage
	defer func() { st.Peak, st.Anonymous = max(st.Peak, used.peak), used.anonymous }()
	deadline := time.NewTimer(t.limit)
	defer deadline.Stop()
	every := sampleFirst
	sample := time.NewTimer(every)
	defer sample.Stop()
	for {
		select {
		case e := <-ended:
			st.Peak = e.maxRSS
			return ending{exit: e, gone: true}
		case <-sample.C:
			used.max(readUsage(pid))
			every = min(2*every, sampleMost)
			sample.Reset(every)
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		break
	}
	s.log.say("%s has not ended within %v: it is ended now", t.label, t.limit)
	for _, step := range []struct {
		signal syscall.Signal
		grace  time.Duration
	}{{t.quit, quitGrace}, {syscall.SIGKILL, killGrace}} {
		target := pid
		if step.signal == syscall.SIGKILL {
			target = -pid // and all that it has started
		}
		unix.Kill(target, step.signal)
		select {
		case e := <-ended:
			st.Peak = e.maxRSS
			return ending{exit: e, asked: true, gone: true}
		case <-time.After(step.grace):
		}
	}
	return ending{asked: true}
}

// judge puts into words how a stage ended.
func judge(st *Stage, how ending, why string, said *output) {
	status := how.status
	switch {
	case how.asked && !how.gone:
		st.Ended, st.Why = endAbandoned, "it can't be killed: it waits in the kernel for a device, most likely; going on without it"
	case how.asked:
		st.Ended, st.Why = endDeadline, "its time was over"
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		st.Ended, st.Why = endKilled, "by the kernel, most likely as it was out of memory"
	case status.Signaled():
		st.Ended, st.Why = endKilled, "by "+unix.SignalName(status.Signal())
	case status.ExitStatus() == 0:
		st.Ended = endDone
	case said.noMemory():
		st.Ended, st.Why = endNoMemory, "it needed more than it may take"
	case status.ExitStatus() == exitPanic:
		st.Ended, st.Why = endCrashed, "see above"
	default:
		st.Ended, st.Why = endFailed, fmt.Sprintf("status %d", status.ExitStatus())
	}
	if why != "" && st.Ended == endFailed {
		st.Why = printable(why)
	}
}

// exitPanic is the status of a Go program that panics or that the runtime ends.
const exitPanic = 2

// pipes connect a stage.
type pipes struct {
	files        []uintptr
	child        []*os.File
	text, report *os.File
	orders       *os.File
}

func newPipes(console string, sys *System) (*pipes, error) {
	p := &pipes{}
	if console != "" {
		f, err := os.OpenFile(sys.path(console), os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, err
		}
		p.child = []*os.File{f}
		p.files = []uintptr{f.Fd(), f.Fd(), f.Fd()}
		return p, nil
	}
	var ends [3][2]*os.File // what the child reads its orders from, writes text to, and reports to
	for i := range ends {
		r, w, err := os.Pipe()
		if err != nil {
			for _, e := range ends[:i] {
				e[0].Close()
				e[1].Close()
			}
			return nil, err
		}
		ends[i] = [2]*os.File{r, w}
	}
	orders, text, report := ends[0], ends[1], ends[2]
	p.child = []*os.File{orders[0], text[1], report[1]}
	p.files = []uintptr{orders[0].Fd(), text[1].Fd(), text[1].Fd(), report[1].Fd()}
	p.orders, p.text, p.report = orders[1], text[0], report[0]
	return p, nil
}

func (p *pipes) closeChild() {
	for _, f := range p.child {
		f.Close()
	}
}

func (p *pipes) closeOurs() {
	if p.text != nil {
		p.text.Close()
		p.report.Close()
		p.orders.Close()
	}
}

// output takes what a stage prints into the journal, up to a bound, and remembers words that tell how it died.
type output struct {
	mu    sync.Mutex
	size  int
	lost  int
	noMem bool
}

var memoryWords = [][]byte{[]byte("cannot allocate memory"), []byte("out of memory")}

func (o *output) copy(pipe io.Reader, log *journal, name string) {
	br := bufio.NewReaderSize(pipe, 2048)
	for {
		// A line longer than the buffer comes in pieces, each a line of its own.
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			o.take(line, log, name)
		}
		if err != nil && err != bufio.ErrBufferFull {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost > 0 {
		log.say("%s: %d more lines are left out", name, o.lost)
	}
}

func (o *output) take(line []byte, log *journal, name string) {
	o.mu.Lock()
	if bytes.HasPrefix(line, []byte("fatal error: ")) || bytes.HasPrefix(line, []byte("runtime: ")) {
		for _, w := range memoryWords {
			o.noMem = o.noMem || bytes.Contains(line, w)
		}
	}
	full := o.size >= maxOutput
	if full {
		o.lost++
	}
	o.size += len(line)
	o.mu.Unlock()
	if !full {
		log.line(name + ": " + string(line))
	}
}

func (o *output) noMemory() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.noMem
}
