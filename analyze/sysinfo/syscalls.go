package sysinfo

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Syscall is an entry of the system call table.
type Syscall struct {
	Number   int
	Function string
	Addr     vmem.Addr
}

// Named reports whether the entry's function is that of a system call: openat finds __x64_sys_openat.
func (s Syscall) Named(name string) bool {
	return s.Function == name || strings.TrimPrefix(strings.TrimPrefix(s.Function, "__x64_"), "__se_") == "sys_"+name || s.Function == "__x64_"+name
}

// Syscalls reads sys_call_table. It ends where the next symbol begins.
func Syscalls(v *kernel.View) ([]Syscall, error) {
	sym, err := v.Symbol("sys_call_table")
	if err != nil {
		return nil, fmt.Errorf("system calls: %w", err)
	}
	n := sym.Size / v.WordSize()
	if n == 0 || n > 1024 {
		n = 1024
	}
	var out []Syscall
	for i := range n {
		p, err := v.Word(vmem.Addr(sym.Addr + i*v.WordSize()))
		if err != nil {
			v.Gap("sys_call_table", err)
			continue
		}
		f, err := v.SymbolAt(vmem.Addr(p))
		if err != nil && !errors.Is(err, symbols.ErrNotFound) { // a gap already
			continue
		}
		if err != nil || f.Addr != p || !f.IsText() {
			break
		}
		out = append(out, Syscall{int(i), f.Name, vmem.Addr(p)})
	}
	return out, nil
}

// Config is the kernel's configuration, which kernels with CONFIG_IKCONFIG carry gzipped between two markers.
func Config(v *kernel.View) ([]string, error) {
	sym, err := v.Symbol("kernel_config_data")
	if err != nil {
		return nil, fmt.Errorf("this kernel does not carry its configuration (CONFIG_IKCONFIG): %w", err)
	}
	const limit = 4 << 20
	size := uint64(limit)
	if end, err := v.Symbol("kernel_config_data_end"); err == nil && end.Addr > sym.Addr && end.Addr-sym.Addr < limit {
		size = end.Addr - sym.Addr
	} else if sym.Size != 0 && sym.Size < 64<<10 {
		size = 64 << 10 // kallsyms caps sizes; gzip ends by itself
	}
	buf := make([]byte, size)
	n, readErr := v.ReadMemory(buf, sym.Addr)
	buf = bytes.TrimPrefix(buf[:n], []byte("IKCFG_ST"))
	z, err := gzip.NewReader(bytes.NewReader(buf))
	if err != nil {
		return nil, fmt.Errorf("kernel_config_data: %w", err)
	}
	z.Multistream(false)
	text, err := io.ReadAll(io.LimitReader(z, 16<<20))
	if err != nil {
		if readErr != nil {
			err = readErr
		}
		return nil, fmt.Errorf("kernel_config_data: %w", err)
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n"), nil
}
