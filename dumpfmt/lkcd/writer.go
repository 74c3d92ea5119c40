package lkcd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"kdx/dumpfmt"
	"kdx/internal/codec"
)

// WriterConfig says what a page writer writes.
type WriterConfig struct {
	// Info is of the dump that the pages come from: page size, byte order, machine, RAM, uname, registers. VMCOREINFO and
	// other notes have no place in this format; readers find the former in memory.
	Info *dumpfmt.Info
	// Pages that will be put.
	Pages dumpfmt.Pages
	// Version is 8 or 9; 0 is 9.
	Version int
	// Compression is "raw", "rle" or "zlib" ("gzip" is the same); "" is zlib.
	Compression string
	Level       int // of zlib; 0 is its fastest
}

// rleCodec marks pages of run lengths between Encode and Put. No other format has them.
const rleCodec codec.Codec = 0x80

// PageWriter writes an LKCD dump of version 8 or 9.
type PageWriter struct {
	out      *dumpfmt.Stream
	cfg      WriterConfig
	order    binary.ByteOrder
	page     uint64
	compress uint32
	encoder  *codec.Encoder // nil for run lengths
	zero     []byte         // an encoded page of zeros
	zeroKind codec.Codec
	pages    dumpfmt.Rising
}

// NewPageWriter writes the header. The error is out's, or says what in cfg can't be written.
func NewPageWriter(out dumpfmt.Output, cfg WriterConfig) (*PageWriter, error) {
	info := cfg.Info
	if !dumpfmt.ValidPageSize(info.PageSize) || info.ByteOrder == nil {
		return nil, fmt.Errorf("an LKCD dump can't be written of pages of %d bytes", info.PageSize)
	}
	if cfg.Version == 0 {
		cfg.Version = 9
	}
	if cfg.Version != 8 && cfg.Version != 9 {
		return nil, fmt.Errorf("LKCD dumps can be written in version 8 and 9, not %d", cfg.Version)
	}
	w := &PageWriter{cfg: cfg, order: info.ByteOrder, page: info.PageSize}
	if err := w.chooseCodec(); err != nil {
		return nil, err
	}
	var err error
	if w.zero, w.zeroKind, err = w.Encode(nil, make([]byte, w.page)); err != nil {
		return nil, err
	}
	head := w.header()
	w.out = dumpfmt.NewStream(out, int64(len(head)), pageHeader+w.page)
	_, err = out.WriteAt(head, 0)
	return w, err
}

func (w *PageWriter) chooseCodec() error {
	kind := codec.Zlib
	switch w.cfg.Compression {
	case "", "zlib", "gzip":
		w.compress = compressGzip
	case "raw":
		w.compress, kind = compressNone, codec.Raw
	case "rle":
		w.compress = compressRLE
		return nil
	default:
		return fmt.Errorf("LKCD dumps have no compression %q; there are raw, rle and zlib", w.cfg.Compression)
	}
	var err error
	w.encoder, err = codec.NewEncoder(kind, w.cfg.Level)
	return err
}

// header with what the architecture adds, and room up to the first page.
func (w *PageWriter) header() []byte {
	l, info, o := &v8, w.cfg.Info, w.order
	if w.cfg.Version == 9 {
		l = &v9
	}
	b := make([]byte, l.size)
	o.PutUint64(b, magic)
	o.PutUint32(b[offVersion:], uint32(w.cfg.Version))
	o.PutUint32(b[offHeaderSize:], uint32(l.size))
	o.PutUint32(b[offPageSize:], uint32(w.page))
	ram := uint64(0)
	for _, r := range info.Ranges {
		ram += uint64(r.End-1)/w.page + 1 - uint64(r.Start)/w.page
	}
	level := uint32(1 | 2 | 4) // header, kernel, used memory
	if w.cfg.Pages.Len() >= ram && !info.Filtered {
		level |= levelAll
	}
	o.PutUint32(b[offLevel:], level)
	o.PutUint64(b[offMemorySize:], ram)
	o.PutUint64(b[offMemoryEnd:], info.MaxPFN*w.page)
	o.PutUint32(b[l.pages:], uint32(min(w.cfg.Pages.Len(), 1<<32-1)))
	if t := info.Timestamp; !t.IsZero() {
		o.PutUint64(b[l.time:], uint64(t.Unix()))
		o.PutUint64(b[l.time+8:], uint64(t.Nanosecond()/1000))
	} else if sec, ok := info.VMCoreInfo.Decimal("CRASHTIME"); ok {
		o.PutUint64(b[l.time:], uint64(sec))
	}
	for i, s := range w.names() {
		copy(b[l.uts+i*utsLen:][:utsLen-1], s)
	}
	o.PutUint32(b[l.compress:], w.compress)
	start := dataStart
	add := w.asm(dataStart - l.size)
	if w.cfg.Version == 9 {
		add = w.asm(maxDataStart / 2)
		for start < l.size+len(add) {
			start *= 2
		}
		o.PutUint64(b[l.buffer:], uint64(start))
	}
	b = append(b, add...)
	return append(b, make([]byte, start-len(b))...)
}

// names of the kernel: readers of old versions of this format refuse dumps without them, and ours takes the machine from
// there.
func (w *PageWriter) names() [6]string {
	info := w.cfg.Info
	u := info.UTS
	if u.Sysname == "" {
		u.Sysname = "Linux"
	}
	if u.Release == "" {
		u.Release, _ = info.VMCoreInfo.Get("OSRELEASE")
	}
	if u.Machine == "" {
		u.Machine = string(info.Machine)
		if info.Machine == dumpfmt.MachineI386 {
			u.Machine = "i686"
		}
	}
	return [6]string{u.Sysname, u.Nodename, u.Release, u.Version, u.Machine, u.Domainname}
}

// asm are the registers of as many CPUs as fit into room bytes. Tasks and stacks of CPUs are not known.
func (w *PageWriter) asm(room int) []byte {
	info, o := w.cfg.Info, w.order
	a, ok := asms[info.Machine]
	if !ok {
		return nil
	}
	n := min(len(info.CPUs), maxCPUs, (room-a.arrays)/((len(a.names)+3)*a.word))
	b := make([]byte, a.arrays+n*(len(a.names)+3)*a.word)
	o.PutUint64(b, asmMagic)
	o.PutUint32(b[8:], a.version)
	o.PutUint32(b[12:], uint32(len(b)))
	o.PutUint32(b[a.cpus:], uint32(n))
	put := func(at int, cpu *dumpfmt.CPU) {
		for i, name := range a.names {
			v, _ := cpu.Reg(name)
			if a.word == 8 {
				o.PutUint64(b[at+i*8:], v)
			} else {
				o.PutUint32(b[at+i*4:], uint32(v))
			}
		}
	}
	for i := range n {
		put(a.arrays+i*len(a.names)*a.word, &info.CPUs[i])
	}
	if n > 0 {
		put(a.regs, &info.CPUs[0])
	}
	return b
}

// Takes reports whether pages can come in this form.
func (w *PageWriter) Takes(c codec.Codec) bool {
	return c == codec.Raw || c == codec.Zlib && w.compress == compressGzip || c == rleCodec && w.compress == compressRLE
}

// Encode appends the page in the dump's compression, or as it is if that isn't smaller.
func (w *PageWriter) Encode(dst, page []byte) ([]byte, codec.Codec, error) {
	if w.encoder != nil {
		return w.encoder.Encode(dst, page)
	}
	n := len(dst)
	out := rle(dst, page)
	if len(out)-n < len(page) {
		return out, rleCodec, nil
	}
	return append(out[:n], page...), codec.Raw, nil
}

// Put stores the next page.
func (w *PageWriter) Put(p dumpfmt.Stored) error {
	if err := w.pages.Come(p.PFN); err != nil {
		return err
	}
	switch {
	case p.Missing:
		return w.append(p.PFN, pageCompressed, nil) // no reader makes a page of no bytes
	case p.Zero:
		p.Data, p.Codec = w.zero, w.zeroKind
	case !w.Takes(p.Codec), p.Codec == codec.Raw && uint64(len(p.Data)) != w.page, len(p.Data) == 0, uint64(len(p.Data)) > w.page:
		return fmt.Errorf("page %#x came as %d bytes of %s, which this LKCD dump can't store", p.PFN, len(p.Data), p.Codec)
	}
	if p.Codec == codec.Raw {
		return w.append(p.PFN, pageRaw, p.Data)
	}
	return w.append(p.PFN, pageCompressed, p.Data)
}

func (w *PageWriter) append(pfn uint64, flags uint32, data []byte) error {
	var h [pageHeader]byte
	w.order.PutUint64(h[:], pfn*w.page)
	w.order.PutUint32(h[8:], uint32(len(data)))
	w.order.PutUint32(h[12:], flags)
	return w.out.Append(h[:], data)
}

// Close writes the end mark. Pages that did not come are an error.
func (w *PageWriter) Close() error {
	if err := w.pages.All(w.cfg.Pages); err != nil {
		return err
	}
	return errors.Join(w.append(0, pageEnd, nil), w.out.Flush())
}

// Abort leaves the end mark out, which is what tells that the dump is incomplete.
func (w *PageWriter) Abort() error { return w.out.Flush() }
