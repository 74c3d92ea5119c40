package save

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	"kdx/symbols"
)

// maxText bounds a small file; a log buffer of a kernel can have 32 MiB (CONFIG_LOG_BUF_SHIFT=25), and more by log_buf_len=.
const maxText = 4 << 20

// limited collects a text and drops what is behind its limit.
type limited struct {
	bytes.Buffer
	dropped int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), maxText-l.Len())
	l.Buffer.Write(p[:n])
	l.dropped += len(p) - n
	return len(p), nil
}

// text writes a small file of what make writes. What was written before make failed is saved, too.
func (a *attempt) text(ctx context.Context, name string, make func(io.Writer) error) error {
	var b limited
	err := make(&b)
	if b.dropped > 0 {
		fmt.Fprintf(&b.Buffer, "\n(%d more bytes are left out here: they are in the dump)\n", b.dropped)
	}
	if b.Len() == 0 {
		return err
	}
	return errors.Join(err, a.put(ctx, name, b.Bytes()))
}

// put writes a small file, and remembers it for the manifest.
func (a *attempt) put(ctx context.Context, name string, data []byte) error {
	if err := a.dir.Put(ctx, name, data); err != nil {
		return err
	}
	h := sha256.Sum256(data)
	a.files = append(a.files, manifest.File{Name: name, Size: int64(len(data)), SHA256: hex.EncodeToString(h[:])})
	return nil
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
