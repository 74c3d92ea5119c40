package initd

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// exit is how a process ended.
type exit struct {
	status syscall.WaitStatus
	// maxRSS is the most it had in memory, in bytes, pages of files counted.
	maxRSS uint64
}

// reaper waits for all children, ours and orphans that became PID 1's. Nobody else may wait for a process.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan exit
	orphans int
	stop    chan struct{}
	done    chan struct{}
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan exit{}, stop: make(chan struct{}), done: make(chan struct{})}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGCHLD)
	go func() {
		defer close(r.done)
		defer signal.Stop(sig)
		tick := time.NewTicker(time.Second) // signals coalesce, and one that is lost must not hold us
		defer tick.Stop()
		for {
			select {
			case <-sig:
			case <-tick.C:
			case <-r.stop:
				return
			}
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		// The lock is held so that a child that ends at once isn't reaped before start has noted it.
		r.mu.Lock()
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, &usage)
		if err == syscall.EINTR {
			r.mu.Unlock()
			continue
		}
		if err != nil || pid <= 0 {
			r.mu.Unlock()
			return
		}
		ch, ours := r.waiting[pid]
		delete(r.waiting, pid)
		if !ours {
			r.orphans++
		}
		r.mu.Unlock()
		if ours {
			ch <- exit{status, uint64(usage.Maxrss) << 10}
		}
	}
}

// start starts a process and tells how it ends on the channel.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (int, <-chan exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, &os.PathError{Op: "start", Path: path, Err: err}
	}
	ch := make(chan exit, 1)
	r.waiting[pid] = ch
	return pid, ch, nil
}

func (r *reaper) close() {
	close(r.stop)
	<-r.done
}
