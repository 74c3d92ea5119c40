package scrub

import (
	"io"
	"maps"
	"slices"
	"strings"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/elfnote"
)

// infoChanges are the changes of headers and notes that follow from what goes of memory.
type infoChanges struct {
	notes map[int][]byte // new descriptors, by index of Info.Notes
	cpus  []int          // indices of Info.CPUs whose registers went
	// uts are the kernel's names of itself that go, and what is left of them: headers copy them.
	uts map[string]string
}

// Info is what the scrubbed dump says of itself: info with registers, texts and notes changed as the rules ask, and with a
// record of what was erased, as makedumpfile writes it. info itself is not altered. It must be that of the dump which was
// searched.
func (s *Scrubber) Info(info *dumpfmt.Info) *dumpfmt.Info {
	out := *info
	out.Notes = slices.Clone(info.Notes)
	for _, i := range slices.Sorted(maps.Keys(s.info.notes)) {
		if i < len(out.Notes) {
			out.Notes[i].Desc = s.info.notes[i]
		}
	}
	if len(s.logText) > 0 {
		if out.EraseInfo != "" && !strings.HasSuffix(out.EraseInfo, "\n") {
			out.EraseInfo += "\n"
		}
		out.EraseInfo += strings.Join(s.logText, "\n") + "\n"
	}
	for _, p := range names(&out.UTS) {
		if text, ok := s.info.uts[*p]; ok {
			*p = text
		}
	}
	s.texts(&out)
	s.registers(&out)
	return &out
}

// utsNames are the members of struct new_utsname, in the order of names.
var utsNames = []string{"sysname", "nodename", "release", "version", "machine", "domainname"}

func names(u *dumpfmt.UTS) []*string {
	return []*string{&u.Sysname, &u.Nodename, &u.Release, &u.Version, &u.Machine, &u.Domainname}
}

// headerNames finds which of the kernel's names of itself go: the headers of dumps hold copies.
func (b *builder) headerNames() error {
	v := b.v
	sym, err := v.Symbol("init_uts_ns")
	if absent(err) {
		return nil
	}
	off, ok := v.OffsetOf("uts_namespace", "name")
	if err != nil || !ok {
		return err
	}
	for _, name := range utsNames {
		m, ok := v.OffsetOf("new_utsname", name)
		if !ok {
			continue
		}
		at := sym.Addr + off + m
		text, err := v.CString(vmem.Addr(at), 65) // __NEW_UTS_LEN
		if err != nil || text == "" {
			continue // the header can't have it from there either
		}
		left := []byte(text)
		if err := b.marks.over(v.Arch().Kernel(), at, left); err != nil {
			return err
		}
		if string(left) == text {
			continue
		}
		if b.info.uts == nil {
			b.info.uts = make(map[string]string)
		}
		b.info.uts[text] = string(left)
	}
	return nil
}

// texts erases what the expressions match in headers and notes.
func (s *Scrubber) texts(out *dumpfmt.Info) {
	if len(s.patterns) == 0 {
		return
	}
	for i := range out.Notes {
		n := &out.Notes[i]
		desc, changed := s.bytes(n.Desc)
		if !changed {
			continue
		}
		n.Desc = desc
		if n.Name == "VMCOREINFO" {
			out.VMCoreInfo = vmcoreinfo.Parse(desc)
		}
	}
	if v := out.VMCoreInfo; v != nil { // of dumps that have no such note
		if text, changed := s.bytes([]byte(v.Text())); changed {
			out.VMCoreInfo = vmcoreinfo.Parse(text)
		}
	}
	for _, p := range append(names(&out.UTS), &out.EraseInfo) {
		*p = s.text(*p)
	}
	if out.Distilled != nil {
		text := s.text(*out.Distilled)
		out.Distilled = &text
	}
	out.Devices = slices.Clone(out.Devices)
	for i := range out.Devices {
		d := &out.Devices[i]
		d.Name = s.text(d.Name)
		d.Data = io.NewSectionReader(&scrubbedReader{s: s, in: d.Data}, 0, d.Size)
	}
}

func (s *Scrubber) text(in string) string {
	out, _ := s.bytes([]byte(in))
	return string(out)
}

// bytes are in with what matches erased.
func (s *Scrubber) bytes(in []byte) (out []byte, changed bool) {
	out = in
	low := func() []byte {
		low := make([]byte, len(in))
		for i, c := range in {
			low[i] = lower[c]
		}
		return low
	}
	for _, p := range s.patterns {
		_ = p.search(in, true, low, func(h hit) { // no error: in is whole
			if !changed {
				out, changed = slices.Clone(in), true
			}
			fill(out[h.from:h.to], Fill)
		})
	}
	return out, changed
}

// registers makes the decoded registers agree with the notes.
func (s *Scrubber) registers(out *dumpfmt.Info) {
	out.CPUs = slices.Clone(out.CPUs)
	next := 0
	for _, n := range out.Notes {
		if n.Name != "CORE" || n.Type != 1 {
			continue
		}
		if next == len(out.CPUs) {
			break
		}
		c := &out.CPUs[next]
		next++
		if c.Regs == nil {
			continue
		}
		_, regs, err := elfnote.PRStatus(string(out.Machine), out.WordSize, out.ByteOrder, n.Desc)
		if err != nil || len(regs) != len(c.Regs) {
			continue
		}
		c.Regs = slices.Clone(c.Regs)
		for i, r := range regs {
			c.Regs[i] = dumpfmt.Register(r)
		}
	}
	for _, i := range s.info.cpus {
		if q := out.CPUs[i].QEMU; q != nil {
			clean := *q
			clean.Regs = nil // the writers copy the note, in which they are erased
			out.CPUs[i].QEMU = &clean
		}
	}
}

// scrubbedReader is a device's dump with what matches erased. What is read is searched with what surrounds it.
type scrubbedReader struct {
	s  *Scrubber
	in *io.SectionReader
}

// ReadAt reads and searches the bytes, and as many on either side as a match can reach.
func (r *scrubbedReader) ReadAt(p []byte, off int64) (int, error) {
	from := max(0, off-longest)
	buf := make([]byte, off-from+int64(len(p))+longest)
	n, err := r.in.ReadAt(buf, from)
	if err == io.EOF {
		err = nil
	}
	buf, _ = r.s.bytes(buf[:n])
	if int64(len(buf)) <= off-from {
		return 0, cmpErr(err, io.EOF)
	}
	got := copy(p, buf[off-from:])
	if got < len(p) {
		return got, cmpErr(err, io.EOF)
	}
	return got, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
