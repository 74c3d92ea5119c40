package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// vm is a running QEMU, its serial console and its monitor.
type vm struct {
	cmd     *exec.Cmd
	dir     string // sockets; short, because the path of a socket must be
	serial  net.Conn
	qmp     net.Conn
	replies *bufio.Reader
	log     io.WriteCloser
	stderr  bytes.Buffer

	mu    sync.Mutex
	cond  *sync.Cond
	text  []byte // the console so far
	ended bool
}

// start runs QEMU with these arguments, its first serial port and its monitor connected to us; what the guest prints goes to log.
func start(ctx context.Context, q emulator, args []string, logPath string) (*vm, error) {
	dir, err := os.MkdirTemp("", "kdx-lab-")
	if err != nil {
		return nil, err
	}
	v := &vm{dir: dir}
	v.cond = sync.NewCond(&v.mu)
	if v.log, err = os.Create(logPath); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	serial, qmp := filepath.Join(dir, "serial"), filepath.Join(dir, "qmp")
	args = append([]string{
		"-display", "none", "-no-reboot", "-nodefaults",
		"-chardev", "socket,id=con,path=" + serial + ",server=on,wait=on", "-serial", "chardev:con",
		"-chardev", "socket,id=mon,path=" + qmp + ",server=on,wait=on", "-mon", "chardev=mon,mode=control",
	}, args...)
	command := q.command()
	v.cmd = exec.CommandContext(ctx, command[0], append(command[1:], args...)...)
	v.cmd.Env = append(os.Environ(), q.env...)
	v.cmd.Stderr, v.cmd.Stdout = &v.stderr, &v.stderr
	if err := v.cmd.Start(); err != nil {
		return nil, errors.Join(err, v.log.Close(), os.RemoveAll(dir))
	}
	if v.serial, err = dial(ctx, serial); err == nil {
		v.qmp, err = dial(ctx, qmp)
	}
	if err != nil {
		v.stop()
		return nil, fmt.Errorf("starting QEMU: %w: %s", err, strings.TrimSpace(v.stderr.String()))
	}
	go v.read()
	v.replies = bufio.NewReader(v.qmp)
	if _, err := v.replies.ReadBytes('\n'); err != nil { // the greeting
		v.stop()
		return nil, fmt.Errorf("QEMU's monitor: %w: %s", err, strings.TrimSpace(v.stderr.String()))
	}
	if err := v.monitor("qmp_capabilities", nil); err != nil {
		v.stop()
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(v.stderr.String()))
	}
	return v, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var last error
	for range 200 {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return c, nil
		}
		last = err
		time.Sleep(50 * time.Millisecond)
	}
	return nil, last
}

// read collects the console until QEMU ends.
func (v *vm) read() {
	buf := make([]byte, 32<<10)
	for {
		n, err := v.serial.Read(buf)
		v.mu.Lock()
		v.text = append(v.text, buf[:n]...)
		v.ended = err != nil
		v.cond.Broadcast()
		v.mu.Unlock()
		v.log.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

// wait waits until the console shows one of the texts after position from, and returns which one and the position behind it.
func (v *vm) wait(ctx context.Context, from int, limit time.Duration, texts ...string) (int, int, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { v.mu.Lock(); defer v.mu.Unlock(); v.cond.Broadcast() })
	defer stop()
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		best, at := -1, 0
		for i, t := range texts {
			if p := bytes.Index(v.text[from:], []byte(t)); p >= 0 && (best < 0 || p < at) {
				best, at = i, p
			}
		}
		if best >= 0 {
			return best, from + at + len(texts[best]), nil
		}
		if v.ended {
			return -1, from, fmt.Errorf("the machine went away before it printed %q", texts)
		}
		if ctx.Err() != nil {
			return -1, from, fmt.Errorf("no %q on the console within %v", texts, limit)
		}
		v.cond.Wait()
	}
}

// console is what the guest has printed so far, and whether QEMU is gone.
func (v *vm) console() (text string, ended bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return string(v.text), v.ended
}

// monitor runs one QMP command and waits for its answer.
func (v *vm) monitor(command string, arguments map[string]any) error {
	req := map[string]any{"execute": command}
	if arguments != nil {
		req["arguments"] = arguments
	}
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if _, err := v.qmp.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("QEMU's monitor: %s: %w", command, err)
	}
	for {
		line, err := v.replies.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("QEMU's monitor: %s: %w", command, err)
		}
		var reply struct {
			Return *json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return fmt.Errorf("QEMU's monitor: %s: %w", command, err)
		}
		switch {
		case reply.Error != nil:
			return fmt.Errorf("QEMU's monitor: %s: %s", command, reply.Error.Desc)
		case reply.Return != nil:
			return nil
		} // else an event
	}
}

// finish waits for the machine to power off.
func (v *vm) finish(ctx context.Context, limit time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- v.cmd.Wait() }()
	select {
	case err := <-done:
		v.cleanup()
		return err
	case <-time.After(limit):
	case <-ctx.Done():
	}
	v.cmd.Process.Kill()
	<-done
	v.cleanup()
	return fmt.Errorf("the machine did not power off within %v", limit)
}

// stop ends QEMU at once.
func (v *vm) stop() {
	v.cmd.Process.Kill()
	v.cmd.Wait()
	v.cleanup()
}

func (v *vm) cleanup() {
	if v.serial != nil {
		v.serial.Close()
	}
	if v.qmp != nil {
		v.qmp.Close()
	}
	v.log.Close()
	os.RemoveAll(v.dir)
}
