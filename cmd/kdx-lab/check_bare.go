package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kdx/internal/elfnote"
)

// bareForm is a dump from which something was taken that leads to its kernel.
type bareForm struct {
	name                       string
	text, states, imageSegment bool // taken: the text of VMCOREINFO in memory, QEMU's CPU states, the address of the kernel's image
}

var bareForms = []bareForm{
	{name: "note"},
	{name: "text", text: true},
	{name: "states", states: true, imageSegment: true},
	{name: "everything", text: true, states: true, imageSegment: true},
}

// bareCommands must say the same whatever led to the kernel.
var bareCommands = []string{"sys", "ps", "log", "mod", "foreach bt", "bt -a", "kmem -i", "kmem -s", "sym -l", "vtop init_task"}

// checkBare takes the VMCOREINFO note from copies of an ELF dump, and more in turn, and compares what kdx says of each with what it
// says of the whole dump: alone, and with the vmlinux instead of the dump's own symbols.
func (l *lab) checkBare(ctx context.Context, s *subject) (string, error) {
	given := [][]string{nil}
	if vmlinux := filepath.Join(s.dir, "vmlinux"); exists(vmlinux) {
		given = append(given, []string{vmlinux, "--no-kallsyms"})
	}
	var whole []map[string]string
	for _, args := range given {
		said, err := s.sayBare(ctx, s.dump, args)
		if err != nil {
			return "", err
		}
		whole = append(whole, said)
	}
	var d differences
	var names []string
	for _, f := range bareForms {
		path := filepath.Join(s.dir, "bare-"+f.name)
		if err := makeBare(ctx, s.dump, path, f); err != nil {
			return "", errors.Join(err, os.Remove(path))
		}
		names = append(names, f.name)
		for i, args := range given {
			got, err := s.sayBare(ctx, path, args)
			if err != nil {
				d.add("without %s %v: %v", f.name, args, err)
				continue
			}
			for _, c := range bareCommands {
				if got[c] != whole[i][c] {
					d.add("without %s %v: %s differs: %s", f.name, args, c, firstDifference(whole[i][c], got[c]))
				}
			}
		}
		if err := os.Remove(path); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d commands equal without %s", len(bareCommands), strings.Join(names, ", ")), d.err()
}

// sayBare runs the commands, one process each. Commands that want what the arguments leave out say so, the same everywhere.
func (s *subject) sayBare(ctx context.Context, dump string, args []string) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range bareCommands {
		text, errs, err := s.run(ctx, dump, append([]string{"-c", c}, args...)...)
		if err != nil && args == nil {
			return nil, fmt.Errorf("kdx open -c %q: %w: %s", c, err, tail(errs, 3))
		}
		var lines []string
		for line := range strings.Lines(aboutKernel(text)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "VMCOREINFO: ") {
				lines = append(lines, line)
			}
		}
		out[c] = strings.Join(lines, "")
	}
	return out, nil
}

// makeBare copies a dump and takes the note and what f says.
func makeBare(ctx context.Context, from, to string, f bareForm) error {
	if _, err := output(ctx, "", "cp", "--sparse=always", from, to); err != nil {
		return err
	}
	if err := os.Chmod(to, 0o600); err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.take(file)
	return errors.Join(err, file.Close())
}

func (f bareForm) take(file *os.File) error {
	core, err := elf.NewFile(file)
	if err != nil {
		return err
	}
	const phdrSize, vaddrAt, phoffAt = 56, 16, 32
	var b [8]byte
	if _, err := file.ReadAt(b[:], phoffAt); err != nil {
		return err
	}
	headers := int64(core.ByteOrder.Uint64(b[:]))
	for i, p := range core.Progs {
		if p.Type == elf.PT_NOTE {
			if err := f.takeNotes(file, p, core); err != nil {
				return err
			}
		}
		if p.Type == elf.PT_LOAD && f.imageSegment {
			if _, err := file.WriteAt(make([]byte, 8), headers+int64(i*phdrSize+vaddrAt)); err != nil {
				return err
			}
		}
	}
	if !f.text {
		return nil
	}
	return blank(file, []byte("OSRELEASE="))
}

// takeNotes renames notes, so that nobody knows them.
func (f bareForm) takeNotes(file *os.File, p *elf.Prog, core *elf.File) error {
	var failed error
	err := elfnote.Scan(io.NewSectionReader(file, int64(p.Off), int64(p.Filesz)), int64(p.Filesz), core.ByteOrder, func(r elfnote.Record) bool {
		if r.Name != "VMCOREINFO" && (r.Name != "QEMU" || !f.states) {
			return true
		}
		padded := int64(len(r.Name)+1+3) &^ 3
		_, failed = file.WriteAt([]byte("none"), int64(p.Off)+r.Offset-padded)
		return failed == nil
	})
	return errors.Join(err, failed)
}

// blank overwrites each place of the text with zeros.
func blank(file *os.File, text []byte) error {
	buf := make([]byte, 4<<20)
	keep := len(text) - 1
	for at := int64(0); ; at += int64(len(buf) - keep) {
		n, err := file.ReadAt(buf, at)
		for b, off := buf[:n], at; ; {
			i := bytes.Index(b, text)
			if i < 0 {
				break
			}
			if _, err := file.WriteAt(make([]byte, len(text)), off+int64(i)); err != nil {
				return err
			}
			b, off = b[i+len(text):], off+int64(i+len(text))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
