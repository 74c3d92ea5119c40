package save

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kdx/analyze/arch"
	"kdx/analyze/kernel"
	"kdx/analyze/printk"
	"kdx/analyze/vmem"
	"kdx/capture/manifest"
	"kdx/capture/prune"
	"kdx/capture/target"
	"kdx/symbols"
)

// text writes a small file of what make writes: a log can have many MiB, so it is not collected before. What was written before
// make failed is saved, too.
func (a *attempt) text(ctx context.Context, name string, make func(io.Writer) error) error {
	l := &late{ctx: ctx, dir: a.dir, name: name}
	w := bufio.NewWriterSize(l, 64<<10)
	err := make(w)
	if ferr := w.Flush(); ferr != nil {
		if l.file != nil {
			ferr = errors.Join(ferr, l.file.Leave(ctx))
		}
		return errors.Join(err, ferr)
	}
	if l.file == nil {
		return err
	}
	done, cerr := l.file.Commit(ctx)
	if cerr == nil {
		a.files = append(a.files, manifest.File{Name: name, Size: done.Size, SHA256: done.SHA256, Proof: done.Proof})
	}
	return errors.Join(err, cerr)
}

// late is a file that is made when there is something to be written.
type late struct {
	ctx  context.Context
	dir  target.Dir
	name string
	file target.File
}

func (l *late) Write(p []byte) (int, error) {
	if l.file == nil {
		f, err := l.dir.Create(l.ctx, l.name)
		if err != nil {
			return 0, err
		}
		l.file = f
	}
	return l.file.Write(p)
}

// writeLog writes the kernel's log as dmesg does. Only VMCOREINFO is needed for it, and no symbols or types.
func (r *runner) writeLog(ctx context.Context, s *source, w io.Writer) error {
	k := s.kernel
	if k == nil {
		var err error
		if k, err = plainKernel(s); err != nil {
			return err
		}
	}
	var failed error
	lost := 0
	for rec, err := range printk.Records(k.View(ctx)) {
		if err != nil {
			failed, lost = err, lost+1
			continue
		}
		if err := writeRecord(w, &rec); err != nil {
			return err
		}
	}
	if failed != nil {
		return fmt.Errorf("%d messages of the kernel's log can't be read: %w", lost, failed)
	}
	return nil
}

func writeRecord(w io.Writer, r *printk.Record) error {
	head := fmt.Sprintf("[%5d.%06d] ", r.TimeNsec/1e9, r.TimeNsec%1e9/1000)
	for i, line := range bytes.Split(r.Text, []byte{'\n'}) {
		if i > 0 {
			head = fmt.Sprintf("%*s", len(head), "")
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", head, printable(line)); err != nil {
			return err
		}
	}
	return nil
}

// printable hides control characters, with which a log could take over the terminal of who reads it.
func printable(b []byte) []byte {
	return bytes.Map(func(c rune) rune {
		if c < ' ' && c != '\t' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '.'
		}
		return c
	}, b)
}

// plainKernel knows what VMCOREINFO says, and nothing else.
func plainKernel(s *source) (*kernel.Kernel, error) {
	if s.img == nil || s.img.Info().VMCoreInfo == nil {
		return nil, errors.Join(errors.New("the dump has no VMCOREINFO"), s.whyNot)
	}
	a, err := arch.New(plainEnv{s})
	if err != nil {
		return nil, err
	}
	return kernel.New(kernel.Config{Image: s.img, Arch: a, VMCoreInfo: s.img.Info().VMCoreInfo, Symbols: symbols.NewChain(nil)}), nil
}

// writeRegisters writes the registers of the CPUs that answered the crash.
func writeRegisters(s *source, w io.Writer) error {
	if s.img == nil {
		return s.imgErr
	}
	cpus := s.img.Info().CPUs
	if len(cpus) == 0 {
		return errors.New("the dump has no notes of CPUs")
	}
	fmt.Fprintf(w, "Registers at the crash, in the order of the dump's notes: CPUs that did not answer are missing.\n")
	for i := range cpus {
		c := &cpus[i]
		fmt.Fprintf(w, "\nnote %d, pid %d", c.Index, c.PID)
		for _, name := range []string{"rip", "pc", "nip", "psw_addr"} {
			pc, ok := c.Reg(name)
			if !ok || s.kernel == nil {
				continue
			}
			if sym, err := s.kernel.SymbolAt(vmem.Addr(pc)); err == nil {
				fmt.Fprintf(w, ", in %s+%#x", sym.Name, pc-sym.Addr)
			}
		}
		for n, reg := range c.Regs {
			if n%4 == 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "  %8s %016x", reg.Name, reg.Value)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// afterwards takes log and registers from the dump that was saved: what had to be erased of it is not in them either.
func (a *attempt) afterwards(ctx context.Context) {
	f, err := a.dir.File(ctx, dumpName)
	if err != nil {
		a.note("log and registers are in the dump only, as something was erased of it: %s", oneLine(err))
		return
	}
	s := &source{file: f}
	if s.img, err = openDump(ctx, f, imageCache); err != nil {
		f.Close()
		a.note("log and registers are in the dump only: %s", oneLine(err))
		return
	}
	defer s.img.Close()
	a.first(ctx, s)
}

func (a *attempt) prune(ctx context.Context) {
	begin := time.Now()
	rep, err := prune.Run(ctx, a.t, prune.Options{Keep: a.Keep, Saved: a.name})
	for _, gone := range rep.Removed {
		a.Log.Info("an older dump was removed", "dir", gone.Dir)
	}
	if err != nil {
		a.Log.Warn("older dumps were not all removed", "err", oneLine(err))
	}
	a.stage("removing older dumps", begin)
}
