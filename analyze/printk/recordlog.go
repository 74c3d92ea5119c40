package printk

import (
	"bytes"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// recordLog reads the log of 3.5 to 5.9: struct printk_log (before 3.11 struct log) headers followed by text and
// dictionary; len 0 means that the next record is at the buffer's start.
func recordLog(v *kernel.View) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r := &reader{v: v}
		name := "printk_log"
		if _, ok := sizeOf(v, name); !ok {
			name = "log"
		}
		hdrSize := r.size(name)
		tsOff, lenOff := r.offset(name+".ts_nsec"), r.offset(name+".len")
		textOff, dictOff := r.offset(name+".text_len"), r.offset(name+".dict_len")
		buf := r.word(r.symbol("log_buf"))
		size := uint64(r.uint32(r.symbol("log_buf_len")))
		first := uint64(r.uint32(r.symbol("log_first_idx")))
		next := uint64(r.uint32(r.symbol("log_next_idx")))
		if r.err != nil {
			yield(Record{}, r.err)
			return
		}
		if hdrSize < 16 || hdrSize > 256 || max(tsOff+8, lenOff+2, textOff+2, dictOff+4) > hdrSize || size > 1<<32 {
			yield(Record{}, fmt.Errorf("VMCOREINFO gives a log record of %d bytes in a buffer of %d, which is no log", hdrSize, size))
			return
		}
		wrapped := false
		for at := first; at != next; {
			if at+hdrSize > size {
				yield(Record{}, fmt.Errorf("the log's record at %#x leads beyond its buffer: the log is damaged there", at))
				return
			}
			hdr := make([]byte, hdrSize)
			if err := v.Read(hdr, vmem.Addr(buf+at)); err != nil {
				yield(Record{}, fmt.Errorf("log record at %#x: %w", at, err))
				return // without its length the next one can't be found
			}
			bo := v.ByteOrder()
			length := uint64(bo.Uint16(hdr[lenOff:]))
			if length == 0 {
				if wrapped {
					yield(Record{}, fmt.Errorf("the log wraps around twice: it is damaged"))
					return
				}
				wrapped, at = true, 0
				continue
			}
			if length < hdrSize {
				yield(Record{}, fmt.Errorf("the log's record at %#x has %d bytes, less than its header: the log is damaged there", at, length))
				return
			}
			textLen, dictLen := uint64(bo.Uint16(hdr[textOff:])), uint64(bo.Uint16(hdr[dictOff:]))
			rec := Record{TimeNsec: bo.Uint64(hdr[tsOff:]), Facility: hdr[dictOff+2], Level: hdr[dictOff+3] >> 5}
			body := make([]byte, min(textLen+dictLen, length-hdrSize))
			err := v.Read(body, vmem.Addr(buf+at+hdrSize))
			if err == nil {
				rec.Text = body[:min(textLen, uint64(len(body)))]
				rec.setDict(body[len(rec.Text):])
			}
			if !yield(rec, err) || v.Context().Err() != nil {
				return
			}
			at += length
		}
	}
}

// setDict takes SUBSYSTEM= and DEVICE= from a dictionary of NUL-separated KEY=VALUE.
func (r *Record) setDict(dict []byte) {
	for kv := range bytes.SplitSeq(dict, []byte{0}) {
		key, value, _ := bytes.Cut(kv, []byte("="))
		switch string(key) {
		case "SUBSYSTEM":
			r.Subsystem = string(value)
		case "DEVICE":
			r.Device = string(value)
		}
	}
}
