package commands

import (
	"os"

	"kdx/analyze/kernel"
	"kdx/analyze/task"
)

// Refresh prepares for the next command: on a running kernel, what was read before is forgotten.
func (s *State) Refresh() {
	if s.Kernel == nil || !s.Kernel.Live() {
		return
	}
	s.Kernel.Forget()
	s.tasks.mu.Lock()
	defer s.tasks.mu.Unlock()
	s.tasks.table, s.tasks.tracer, s.tasks.gaps = nil, nil, nil
}

// self is the task of this very process, the context on a running kernel.
func self(k *kernel.Kernel, t *task.Table) *task.Task {
	if !k.Live() {
		return nil
	}
	return t.ByPID(int32(os.Getpid()))
}
