package commands

import (
	"errors"
	"fmt"
	"io"
	"os"

	"kdx/analyze/task"
	"kdx/analyze/vmem"
)

// readAt reads memory of one kind: kernel-virtual, user-virtual of a task, or physical.
type readAt func(p []byte, addr uint64) (int, error)

func (c *Call) readKernel(p []byte, addr uint64) (int, error) { return c.View.ReadMemory(p, addr) }

func (c *Call) readPhys(p []byte, addr uint64) (int, error) {
	return c.View.ReadPhys(p, addr)
}

// userSpace is the address space of the task that the context or arg (a pid or task_struct address) names.
func (c *Call) userSpace(arg string) (vmem.Space, *task.Task, error) {
	var args []string
	if arg != "" {
		args = []string{arg}
	}
	xs, err := selectTasks(c, args)
	if err != nil {
		return nil, nil, err
	}
	x := xs[0]
	if x.MM == 0 {
		return nil, x, fmt.Errorf("PID %d (%s) is a kernel thread: it has no user addresses", x.PID, x.Comm)
	}
	s, err := task.UserSpace(c.View, x)
	return s, x, err
}

// readFile reads the dump's own file, as it lies on the disk.
func (c *Call) readFile() (readAt, error) {
	files := c.View.Image().Info().Files
	switch {
	case c.View.Image().Info().Live:
		return nil, &UsageError{c.Cmd.Name, "-f is for dumps: a running kernel has no file"}
	case len(files) != 1:
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("-f is for dumps of one file, and this one has %d", len(files))}
	}
	return func(p []byte, addr uint64) (int, error) {
		if err := c.View.Step(); err != nil {
			return 0, err
		}
		if addr > 1<<62 {
			return 0, fmt.Errorf("no file has an offset of %#x", addr)
		}
		f, err := os.Open(files[0])
		if err != nil {
			return 0, err
		}
		defer f.Close()
		n, err := f.ReadAt(p, int64(addr))
		if n == len(p) {
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s ends at %#x", files[0], addr+uint64(n))
		}
		return n, err
	}, nil
}

// readUser reads user memory of the current task.
func (c *Call) readUser() (readAt, error) {
	s, _, err := c.userSpace("")
	if err != nil {
		return nil, err
	}
	return func(p []byte, addr uint64) (int, error) {
		if err := c.View.Step(); err != nil {
			return 0, err
		}
		return vmem.Read(c.View.Image(), s, p, addr)
	}, nil
}
