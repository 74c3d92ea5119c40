package repl

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
)

// errInterrupted is the cause of a command's context after Ctrl-C.
var errInterrupted = errors.New("interrupted")

// interrupts turns SIGINT into the end of the running command, never of the program.
type interrupts struct {
	mu      sync.Mutex
	cancel  context.CancelCauseFunc
	running context.Context // of the command that runs
	count   int             // since the command began
	pending bool            // it came when no command was running
	give    func()
}

// patience is the number of Ctrl-C after which a command that does not end takes the program with it.
const patience = 3

func (in *interrupts) listen() (stop func()) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, os.Interrupt)
	go func() {
		for range ch {
			in.deliver()
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
	}
}

func (in *interrupts) deliver() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cancel == nil {
		in.pending = true
		return
	}
	in.cancel(errInterrupted)
	if in.count++; in.count >= patience && in.give != nil {
		in.give()
	}
}

// command makes the context of one command.
func (in *interrupts) command(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.cancel, in.count, in.running = cancel, 0, ctx
	return ctx, func(err error) {
		in.mu.Lock()
		in.cancel, in.running = nil, nil
		in.mu.Unlock()
		cancel(err)
	}
}

// foreground is the context of the command that runs.
func (in *interrupts) foreground() context.Context {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.running == nil {
		return context.Background()
	}
	return in.running
}

// take reports and forgets a Ctrl-C that came between commands.
func (in *interrupts) take() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	p := in.pending
	in.pending = false
	return p
}
