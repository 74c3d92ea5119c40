package initd

import (
	"fmt"
	"slices"
	"time"
)

// Stages that are started ahead
//
// A process of this program takes its time until it does anything, opening a dump takes more, and where a capture kernel has several CPUs the others
// idle meanwhile. So a stage's process may be started before its turn: it does what needs no order, and waits for that. It can cost nothing: one that
// ends before its order came, as the kernel was short of memory, is started anew when its turn comes, and there is none where memory is short or the
// CPU is the only one.

// aheadWord is the argument of a process that was started ahead.
const aheadWord = "ahead"

// aheadLeast is how much memory must be available for a process to be started ahead, bytes: what the stage takes that runs meanwhile, and what this
// one does, twice.
const aheadLeast = 48 * mib

// ahead says whether this process was started ahead.
func (s *stage) ahead() bool { return slices.Contains(s.args, aheadWord) }

// ahead starts a stage's process before its turn. An order that is given now is not the last.
func (s *supervisor) ahead(name string, first *order) {
	info, err := readMeminfo(s.sys.path("/proc/meminfo"))
	if s.cpus < 2 || err != nil || info.available < aheadLeast {
		return
	}
	s.dismiss(name)
	p, err := s.start(task{name: name, args: []string{aheadWord}}, allow(info, nil, s.memory))
	if err != nil {
		s.log.say("%s is not started ahead: %v", name, err)
		return
	}
	s.log.say("%s is started ahead, %v", name, info)
	if first != nil {
		p.tell(*first)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		s.waits = map[string]*process{}
	}
	s.waits[name] = p
}

// take is the process that was started ahead for a task, nil if there is none, or none that is alive.
func (s *supervisor) take(t task) *process {
	if t.order == nil || t.order.Plain {
		return nil
	}
	p := s.waiting(t.name)
	if p == nil {
		return nil
	}
	select {
	case e := <-p.ended:
		p.end()
		s.log.say("%s was started ahead and has ended (%s): it is started anew", t.name, words(e))
		return nil
	default:
		return p
	}
}

// words say how a process ended.
func words(e exit) string {
	if e.status.Signaled() {
		return fmt.Sprint(e.status.Signal())
	}
	return fmt.Sprintf("status %d", e.status.ExitStatus())
}

// dismiss ends processes whose turn does not come.
func (s *supervisor) dismiss(names ...string) {
	for _, name := range names {
		p := s.waiting(name)
		if p == nil {
			continue
		}
		p.end()
		// What it has open is closed when it is gone, not when it is killed: a filesystem can't be unmounted before.
		select {
		case <-p.ended:
		case <-time.After(killGrace):
		}
	}
}

// waiting is the process of that name that was started ahead; from now on nobody else has it.
func (s *supervisor) waiting(name string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.waits[name]
	delete(s.waits, name)
	return p
}
