//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// returnZero is the least program there is.
var returnZero = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}

// guestBPF holds maps and programs of several types, loaded, pinned and attached.
func guestBPF([]string) error {
	s := setup{"bpf"}
	s.try("memlock", rlimit.RemoveMemlock())
	var keep []any
	newMap := func(spec *ebpf.MapSpec) *ebpf.Map {
		m, err := ebpf.NewMap(spec)
		if !s.try("map "+spec.Name, err) {
			return nil
		}
		keep = append(keep, m)
		return m
	}
	hash := newMap(&ebpf.MapSpec{Name: "lab_hash", Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 64})
	if hash != nil {
		for i := range uint32(10) {
			s.try("put", hash.Put(i, uint64(i)*1111))
		}
		s.try("pin", hash.Pin("/sys/fs/bpf/lab_hash"))
	}
	newMap(&ebpf.MapSpec{Name: "lab_array", Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 8})
	newMap(&ebpf.MapSpec{Name: "lab_percpu", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 4})
	newMap(&ebpf.MapSpec{Name: "lab_lru", Type: ebpf.LRUHash, KeySize: 8, ValueSize: 8, MaxEntries: 100})
	newMap(&ebpf.MapSpec{Name: "lab_trie", Type: ebpf.LPMTrie, KeySize: 8, ValueSize: 4, MaxEntries: 16, Flags: unix.BPF_F_NO_PREALLOC})
	newMap(&ebpf.MapSpec{Name: "lab_ring", Type: ebpf.RingBuf, MaxEntries: 4096})
	program := func(spec *ebpf.ProgramSpec) *ebpf.Program {
		spec.License = "Dual MIT/GPL"
		p, err := ebpf.NewProgram(spec)
		if !s.try("program "+spec.Name, err) {
			return nil
		}
		keep = append(keep, p)
		return p
	}
	if hash != nil { // refers to a map, and so holds it
		filter := program(&ebpf.ProgramSpec{Name: "lab_filter", Type: ebpf.SocketFilter, Instructions: asm.Instructions{
			asm.StoreImm(asm.RFP, -4, 3, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, hash.FD()),
			asm.FnMapLookupElem.Call(),
			asm.Mov.Imm(asm.R0, 0xffff),
			asm.Return(),
		}})
		if filter != nil {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			if s.try("socket", err) {
				s.try("attach", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, filter.FD()))
			}
			s.try("pin", filter.Pin("/sys/fs/bpf/lab_filter"))
		}
	}
	if p := program(&ebpf.ProgramSpec{Name: "lab_cgroup", Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetIngress,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}}); p != nil {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: "/sys/fs/cgroup", Attach: ebpf.AttachCGroupInetIngress, Program: p})
		s.try("cgroup", err)
		keep = append(keep, l)
	}
	program(&ebpf.ProgramSpec{Name: "lab_xdp", Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
	program(&ebpf.ProgramSpec{Name: "lab_calls", Type: ebpf.SocketFilter, Instructions: asm.Instructions{ // of two functions
		asm.Mov.Imm(asm.R1, 3),
		asm.Call.Label("lab_called"),
		asm.Return(),
		asm.Mov.Reg(asm.R0, asm.R1).WithSymbol("lab_called"),
		asm.Return(),
	}})
	s.ready()
	err := hold()
	runtime.KeepAlive(keep)
	return err
}

// tracedFunctions are on the way to sysrq-c, and on the way to where tasks of the workload sleep.
var (
	crashPath = []string{"write_sysrq_trigger", "__handle_sysrq", "sysrq_handle_crash", "proc_reg_write"}
	sleepPath = []string{"do_nanosleep", "hrtimer_nanosleep", "pipe_read", "pipe_write", "do_sys_poll", "do_epoll_wait", "futex_wait", "do_futex",
		"unix_stream_read_generic", "ksys_read", "vfs_read", "do_msgrcv", "do_wait", "ep_poll", "kthread_worker_fn", "tty_read"}
)

// guestTrace turns on everything that puts itself between a function and its caller: kprobes and kretprobes by tracefs, the function
// graph tracer (return addresses on every stack replaced), BPF programs on a kprobe, on function entry and on function exit.
func guestTrace([]string) error {
	s := setup{"trace"}
	const tracing = "/sys/kernel/tracing/"
	s.try("memlock", rlimit.RemoveMemlock())
	available := readText(tracing + "available_filter_functions")
	can := func(fn string) bool {
		return strings.Contains(available, "\n"+fn+"\n")
	}
	for _, fn := range append(append([]string{}, crashPath...), sleepPath...) {
		if !can(fn) {
			continue
		}
		s.try("filter "+fn, appendText(tracing+"set_ftrace_filter", fn+"\n"))
	}
	s.try("function_graph", writeText(tracing+"current_tracer", "function_graph"))
	for i, fn := range []string{"vfs_read", "__handle_sysrq", "vfs_open", "do_nanosleep"} {
		s.try("kprobe "+fn, appendText(tracing+"kprobe_events", fmt.Sprintf("p:lab/p%d %s\n", i, fn)))
		s.try("kretprobe "+fn, appendText(tracing+"kprobe_events", fmt.Sprintf("r8:lab/r%d %s\n", i, fn)))
	}
	s.try("enable", writeText(tracing+"events/lab/enable", "1"))
	keep := []any{}
	attach := func(what string, spec *ebpf.ProgramSpec, f func(p *ebpf.Program) (link.Link, error)) {
		spec.License = "Dual MIT/GPL"
		p, err := ebpf.NewProgram(spec)
		if !s.try(what, err) {
			return
		}
		l, err := f(p)
		if s.try(what, err) {
			keep = append(keep, p, l)
		}
	}
	attach("bpf kprobe", &ebpf.ProgramSpec{Name: "lab_kprobe", Type: ebpf.Kprobe, Instructions: returnZero},
		func(p *ebpf.Program) (link.Link, error) { return link.Kprobe("vfs_write", p, nil) })
	attach("bpf kretprobe", &ebpf.ProgramSpec{Name: "lab_kretprobe", Type: ebpf.Kprobe, Instructions: returnZero},
		func(p *ebpf.Program) (link.Link, error) { return link.Kretprobe("vfs_write", p, nil) })
	for name, at := range map[string]ebpf.AttachType{"lab_fentry": ebpf.AttachTraceFEntry, "lab_fexit": ebpf.AttachTraceFExit} {
		attach(name, &ebpf.ProgramSpec{Name: name, Type: ebpf.Tracing, AttachType: at, AttachTo: "ksys_write", Instructions: returnZero},
			func(p *ebpf.Program) (link.Link, error) { return link.AttachTracing(link.TracingOptions{Program: p}) })
	}
	s.ready()
	err := hold()
	runtime.KeepAlive(keep)
	return err
}

func appendText(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// takeBPF lists programs, maps and links as the kernel does.
func takeBPF() truthBPF {
	var t truthBPF
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			break
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue
		}
		if info, err := p.Info(); err == nil {
			tp := truthProgram{ID: uint32(id), Name: info.Name, Type: info.Type.String(), Tag: info.Tag}
			tp.Jited, _ = info.JitedSize()
			maps, _ := info.MapIDs()
			for _, m := range maps {
				tp.Maps = append(tp.Maps, uint32(m))
			}
			addrs, _ := info.JitedKsymAddrs()
			for _, a := range addrs {
				tp.Ksyms = append(tp.Ksyms, fmt.Sprintf("%#x", a))
			}
			t.Programs = append(t.Programs, tp)
		}
		p.Close()
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			break
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue
		}
		if info, err := m.Info(); err == nil {
			t.Maps = append(t.Maps, truthMap{uint32(id), info.Name, info.Type.String(), info.KeySize, info.ValueSize, info.MaxEntries})
		}
		m.Close()
	}
	for it := (&link.Iterator{}); it.Next(); {
		t.Links = append(t.Links, uint32(it.ID))
	}
	return t
}
