package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTwoLoads(t *testing.T) {
	m := newMachine(t)
	m.slow = 100 * time.Millisecond
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			h := *m.Host
			if _, err := h.Load(t.Context(), m.job()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if len(m.calls) != 3 {
		t.Error(m.calls)
	}
	// One that does not end: the second says who it is.
	defer func(d time.Duration) { lockWait = d }(lockWait)
	lockWait = 50 * time.Millisecond
	unlock, err := m.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Load(t.Context(), m.job())
	var busy *BusyError
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), "a test") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Load(ctx, m.job()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock()
	if _, err := m.Load(t.Context(), m.job()); err != nil {
		t.Error(err)
	}
}

func TestHotplug(t *testing.T) {
	m := newMachine(t)
	event := func() HotplugResult {
		t.Helper()
		what, _, err := m.OnHotplug(t.Context(), time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return what
	}
	if what := event(); what != NotLoaded {
		t.Error(what)
	}
	m.put("sys/kernel/kexec_crash_loaded", "1")
	if what := event(); what != NotOurs {
		t.Error(what)
	}
	m.load(m.job())
	if what := event(); what != ByKernel {
		t.Error(what)
	}
	// A kernel that does not keep the map up to date: ten events while the first one waits are one load.
	for _, n := range []string{"memory", "cpu"} {
		if err := os.RemoveAll(filepath.Join(m.Root, "sys/devices/system", n)); err != nil {
			t.Fatal(err)
		}
	}
	m.calls = nil
	done := make(chan HotplugResult, 11)
	for range 11 {
		go func() {
			h := *m.Host
			what, _, err := h.OnHotplug(t.Context(), 300*time.Millisecond)
			if err != nil {
				t.Error(err)
			}
			done <- what
		}()
	}
	loads := 0
	for range 11 {
		switch what := <-done; what {
		case Reloaded:
			loads++
		case AnotherWaits:
		case ByKernel: // the fake kernel makes the files anew
		default:
			t.Error(what)
		}
	}
	if loads != 1 || len(m.calls) != 1 {
		t.Error(loads, m.calls)
	}
	m.put("sys/kernel/kexec_crash_loaded", "0") // somebody else unloads
	for _, n := range []string{"memory", "cpu"} {
		os.RemoveAll(filepath.Join(m.Root, "sys/devices/system", n))
	}
	if what := event(); what != NotLoaded {
		t.Error(what)
	}
}
