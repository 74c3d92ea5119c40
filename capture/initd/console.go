package initd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// console is one device that progress is shown on. A line that can't be written soon is dropped: a serial line whose other end holds
// it must not hold us.
type console struct {
	name  string
	lines chan string
	done  chan struct{}
}

const consoleBuffer = 256

// consoleNames are the devices of console= words, or of the configuration's, each once. The kernel's own /dev/console is the last word.
func consoleNames(cmdline string, configured []string) []string {
	words := slices.Clone(configured)
	if len(words) == 0 {
		for _, w := range strings.Fields(cmdline) {
			if v, ok := strings.CutPrefix(w, "console="); ok {
				words = append(words, v)
			}
		}
	}
	var out []string
	seen := map[string]bool{}
	for _, w := range words {
		name, _, _ := strings.Cut(w, ",")
		name = strings.Trim(name, `"`)
		// console=null and ttynull are no devices that show anything; earlycon forms such as uart8250,io,… have no device.
		if name == "" || name == "null" || name == "ttynull" || strings.HasPrefix(name, "uart") || name != filepath.Base(name) || seen[name] {
			continue
		}
		seen[name] = true
		out = append(out, name)
	}
	if len(out) == 0 {
		return []string{"console"}
	}
	return out
}

func openConsole(path string) (*console, error) {
	// Without O_NONBLOCK a serial port waits for a carrier.
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	c := &console{name: filepath.Base(path), lines: make(chan string, consoleBuffer), done: make(chan struct{})}
	go c.run(fd)
	return c, nil
}

func (c *console) run(fd int) {
	defer close(c.done)
	defer unix.Close(fd)
	for l := range c.lines {
		p := []byte(l + "\r\n")
		for len(p) > 0 {
			n, err := unix.Write(fd, p)
			if err == unix.EINTR || err == unix.EAGAIN {
				continue
			}
			if err != nil || n <= 0 {
				break
			}
			p = p[n:]
		}
	}
}

func (c *console) put(l string) {
	select {
	case c.lines <- l:
	default:
	}
}

// drain waits until what was said is shown, but not long.
func (c *console) drain(limit time.Duration) {
	end := time.Now().Add(limit)
	for len(c.lines) > 0 && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
}
