package initd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is its own stage: PID 1's part runs in the test, stages are this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == stageWord {
		os.Exit(runStage(os.Args[2:], fakes()))
	}
	quitGrace, killGrace, failurePause, actionLimit, feedLeast = 2*time.Second, 2*time.Second, time.Millisecond, 200*time.Millisecond, 10*time.Millisecond
	os.Exit(m.Run())
}

// fakeEnv says how stages behave: "save0=panic save1=done", by name and target. fakeTrace is the file that they write down that they ran in.
const fakeEnv, fakeTrace = "KDX_TEST_FAKES", "KDX_TEST_TRACE"

func fakes() map[string]stageFunc {
	table := map[string]stageFunc{}
	for _, name := range []string{"modules", "clock", "network", "device", "save", "triage", "log", "sync", "hook", "shell"} {
		table[name] = func(ctx context.Context, s *stage) (any, error) { return fake(ctx, name, s) }
	}
	return table
}

func fake(_ context.Context, name string, s *stage) (any, error) {
	id := name
	if s.ahead() {
		if _, err := behave(told("ahead "+name), s); err != nil {
			return nil, err
		}
	}
	switch name {
	case "modules", "device", "save", "triage", "log", "sync":
		if err := s.await(); err != nil {
			return nil, err
		}
	}
	if s.order.Unproven {
		trace("unproven " + s.order.Dir)
		if err := s.await(); err != nil {
			return nil, err
		}
	}
	switch name {
	case "device", "save", "log", "triage":
		id += fmt.Sprint(s.order.Target)
		if s.order.Plain && name == "save" {
			id += "plain"
		}
	case "hook", "shell":
		id += " " + strings.Join(s.args, " ")
	case "modules":
		id += strings.Join(s.order.Skip, "")
	}
	trace(id)
	return behave(told(id), s)
}

func trace(id string) {
	if f, err := os.OpenFile(os.Getenv(fakeTrace), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintln(f, id)
		f.Close()
	}
}

// told is how a stage must behave.
func told(id string) (how string) {
	for _, w := range strings.Split(os.Getenv(fakeEnv), ";") {
		if k, v, _ := strings.Cut(w, "="); k == id {
			how = v
		}
	}
	return how
}

var sink [][]byte

func behave(how string, s *stage) (any, error) {
	s.At("work")
	how, wrote := strings.CutPrefix(how, "written,")
	if wrote {
		s.written("guest-x")
		time.Sleep(300 * time.Millisecond)
	}
	switch how {
	case "":
		return map[string]string{"dir": "guest-x", "device": "/dev/x"}, nil
	case "slow":
		time.Sleep(500 * time.Millisecond)
		return map[string]string{"device": "/dev/x"}, nil
	case "fail":
		return nil, errors.New("no room\nhere")
	case "panic":
		panic("a stage's fault")
	case "hang":
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGQUIT, syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "eat":
		for {
			b := make([]byte, mib)
			for i := range b {
				b[i] = 1
			}
			sink = append(sink, b)
		}
	case "killed":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		time.Sleep(time.Hour)
	case "noisy":
		for range 20000 {
			fmt.Println("a line of some thirty characters\x1b[2J")
		}
	case "garbage":
		f := os.NewFile(reportFD, "report")
		f.WriteString("{\"at\":\n\x00\xff}\n" + strings.Repeat("x", 2*maxReport) + "\n")
	case "orphans":
		for range 3 {
			attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
			if _, err := syscall.ForkExec("/proc/self/exe", []string{"x", stageWord, "clock"}, attr); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func self(t *testing.T) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe}
}

func newSupervisor(t *testing.T, fakes string) (*supervisor, func() string) {
	t.Helper()
	dir := t.TempDir()
	sys := &System{Self: self(t), Env: []string{fakeEnv + "=" + fakes, fakeTrace + "=" + dir + "/trace"}}
	log := newJournal()
	if err := log.open(dir + "/log"); err != nil {
		t.Fatal(err)
	}
	r := newReaper()
	t.Cleanup(r.close)
	return &supervisor{sys: sys, log: log, reaper: r, cpus: 1}, func() string {
		b, err := os.ReadFile(dir + "/log")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestStages(t *testing.T) {
	for _, tt := range []struct {
		how, ended, why, log string
		memory               uint64
	}{
		{how: "", ended: endDone},
		{how: "fail", ended: endFailed, why: "no room?here"},
		{how: "panic", ended: endCrashed, log: "save: panic: a stage's fault"},
		{how: "hang", ended: endDeadline, log: "save: SIGQUIT: quit"},
		{how: "deaf", ended: endDeadline},
		{how: "eat", ended: endNoMemory, memory: 32 * mib},
		{how: "killed", ended: endKilled, why: "by the kernel, most likely as it was out of memory"},
		{how: "noisy", ended: endDone, log: "more lines are left out"},
		{how: "garbage", ended: endDone},
	} {
		t.Run(tt.how, func(t *testing.T) {
			s, log := newSupervisor(t, "save0="+tt.how)
			s.memory = tt.memory
			if raceDetector && tt.how == "eat" {
				tt.ended, tt.why = endFailed, "status 66"
			}
			limit := 20 * time.Second
			if tt.how == "hang" || tt.how == "deaf" {
				limit = 500 * time.Millisecond
			}
			begin := time.Now()
			st := s.run(t.Context(), task{name: "save", order: &order{}, limit: limit, quit: unix.SIGQUIT})
			if st.Ended != tt.ended || tt.why != "" && st.Why != tt.why {
				t.Errorf("ended %q, why %q; want %q, %q\n%s", st.Ended, st.Why, tt.ended, tt.why, log())
			}
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
			if !strings.Contains(log(), tt.log) {
				t.Errorf("the log lacks %q:\n%.2000s", tt.log, log())
			}
			if n := len(log()); n > 2*maxOutput+8<<10 {
				t.Errorf("the log has %d bytes", n)
			}
			if strings.Contains(log(), "\x1b") {
				t.Error("control characters reach the log")
			}
			if st.Peak == 0 || tt.how == "hang" && (st.Anonymous == 0 || st.At != "work") {
				t.Errorf("not measured: %+v", st)
			}
			if tt.how == "eat" && !raceDetector && st.Anonymous > 64*mib {
				t.Errorf("it took %d MiB", st.Anonymous/mib)
			}
		})
	}
}

func TestNotStarted(t *testing.T) {
	s, _ := newSupervisor(t, "")
	s.sys.Self = []string{"/nonexistent"}
	if st := s.run(t.Context(), task{name: "save", limit: time.Second, quit: unix.SIGQUIT}); st.Ended != endNotBegun {
		t.Errorf("%+v", st)
	}
}

func TestOrphans(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	s, _ := newSupervisor(t, "save0=orphans")
	s.run(t.Context(), task{name: "save", order: &order{}, limit: 10 * time.Second, quit: unix.SIGQUIT})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s.reaper.mu.Lock()
		n := s.reaper.orphans
		s.reaper.mu.Unlock()
		if n == 3 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d orphans were reaped; want 3", n)
		}
	}
}

func TestOrder(t *testing.T) {
	o := order{Target: 1, Mount: "/m", Plain: true, Stages: []Stage{{Name: "a", Took: 5}}}
	var back order
	b, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil || back.Target != 1 || !back.Plain || len(back.Stages) != 1 || back.Stages[0].Took != 5 {
		t.Errorf("%+v, %v", back, err)
	}
	runtime.KeepAlive(sink)
}

func FuzzReport(f *testing.F) {
	f.Add([]byte("{\"at\":\"x\"}\n{\"error\":\"y\",\"result\":{\"dir\":1}}\n"))
	f.Add([]byte("{\"at\":1}\nnonsense\x00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r reports
		r.read(strings.NewReader(string(text)))
		st := Stage{At: r.get().At, result: r.get().Result, Ended: endFailed}
		if _, err := json.Marshal(st); err != nil {
			t.Error(err)
		}
		if s := printable(st.String()); strings.ContainsAny(s, "\n\x1b") {
			t.Errorf("%q", s)
		}
	})
}
