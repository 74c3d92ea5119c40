package printk

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// States of a descriptor, in the two top bits of prb_desc.state_var above its id.
const (
	descCommitted = 1
	descFinalized = 2
)

// maxCountBits bounds the ring: CONFIG_LOG_BUF_SHIFT ends at 25 and log_buf_len= at 2 GiB; a record takes 32 bytes.
const maxCountBits = 26

type ringLayout struct {
	descs, infos, data     uint64 // addresses
	count                  uint64 // descriptors, a power of two
	dataBits               uint64
	headID, tailID, idMask uint64
	descSize, infoSize     uint64
	stateOff, beginOff     uint64
	nextOff                uint64
	seqOff, tsOff, lenOff  uint64
	callerOff, devOff      uint64
	hasDev                 bool
	subsysLen, deviceLen   uint64
	deviceOff              uint64
	buf                    []byte // one descriptor or info at a time
}

func readRing(v *kernel.View) (ringLayout, error) {
	r := &reader{v: v}
	var l ringLayout
	prb := r.word(r.symbol("prb"))
	desc := prb + r.offset("printk_ringbuffer.desc_ring")
	text := prb + r.offset("printk_ringbuffer.text_data_ring")
	bits := uint64(r.uint32(desc + r.offset("prb_desc_ring.count_bits")))
	l.descs = r.word(desc + r.offset("prb_desc_ring.descs"))
	l.infos = r.word(desc + r.offset("prb_desc_ring.infos"))
	l.headID = r.word(desc + r.offset("prb_desc_ring.head_id"))
	l.tailID = r.word(desc + r.offset("prb_desc_ring.tail_id"))
	l.dataBits = uint64(r.uint32(text + r.offset("prb_data_ring.size_bits")))
	l.data = r.word(text + r.offset("prb_data_ring.data"))
	l.descSize, l.infoSize = r.size("prb_desc"), r.size("printk_info")
	l.stateOff = r.offset("prb_desc.state_var")
	lpos := r.offset("prb_desc.text_blk_lpos")
	l.beginOff = lpos + r.offset("prb_data_blk_lpos.begin")
	l.nextOff = lpos + r.offset("prb_data_blk_lpos.next")
	l.seqOff, l.tsOff = r.offset("printk_info.seq"), r.offset("printk_info.ts_nsec")
	l.lenOff, l.callerOff = r.offset("printk_info.text_len"), r.offset("printk_info.caller_id")
	if r.err != nil {
		return l, r.err
	}
	if bits > maxCountBits || l.dataBits > 32 {
		return l, fmt.Errorf("the log's ring claims 2^%d messages in 2^%d bytes: its header at %#x is damaged", bits, l.dataBits, prb)
	}
	word := v.WordSize() * 8
	l.count, l.idMask = 1<<bits, 1<<(word-2)-1
	if l.infoSize < l.callerOff+4 || l.infoSize < l.lenOff+4 || l.infoSize < 24 || l.infoSize > 4096 || l.descSize < l.nextOff+v.WordSize() || l.descSize > 4096 {
		return l, fmt.Errorf("VMCOREINFO gives sizes of the log's records (%d, %d bytes) that don't hold their members", l.infoSize, l.descSize)
	}
	var ok1, ok2, ok3 bool
	l.devOff, l.hasDev = offsetOf(v, "printk_info.dev_info")
	l.deviceOff, ok1 = offsetOf(v, "dev_printk_info.device")
	l.subsysLen, ok2 = lengthOf(v, "subsystem")
	l.deviceLen, ok3 = lengthOf(v, "device")
	l.hasDev = l.hasDev && ok1 && ok2 && ok3 && l.devOff+l.deviceOff+l.deviceLen <= l.infoSize && l.devOff+l.subsysLen <= l.infoSize
	l.buf = make([]byte, max(l.descSize, l.infoSize))
	return l, nil
}

func ring(v *kernel.View) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		l, err := readRing(v)
		if err != nil {
			yield(Record{}, err)
			return
		}
		n := (l.headID-l.tailID)&l.idMask + 1
		if n > l.count {
			yield(Record{}, fmt.Errorf("the log's ring claims %d messages of at most %d: its head or tail is damaged; what its descriptors hold follows", n, l.count))
			n = l.count
		}
		for i := range n {
			rec, ok, err := l.record(v, (l.tailID+i)&l.idMask)
			if err == nil && !ok {
				continue // still being written at the crash, or already reused
			}
			if !yield(rec, err) || v.Context().Err() != nil {
				return
			}
		}
	}
}

func (l *ringLayout) record(v *kernel.View, id uint64) (Record, bool, error) {
	slot := id & (l.count - 1)
	ws := v.WordSize()
	desc := l.buf[:l.descSize]
	if err := v.Read(desc, vmem.Addr(l.descs+slot*l.descSize)); err != nil {
		return Record{}, false, fmt.Errorf("log message %d: %w", id, err)
	}
	word := func(off uint64) uint64 {
		if ws == 4 {
			return uint64(v.ByteOrder().Uint32(desc[off:]))
		}
		return v.ByteOrder().Uint64(desc[off:])
	}
	state := word(l.stateOff)
	if s := state >> (ws*8 - 2); state&l.idMask != id || s != descCommitted && s != descFinalized {
		return Record{}, false, nil
	}
	begin, next := word(l.beginOff), word(l.nextOff)

	info := l.buf[:l.infoSize]
	if err := v.Read(info, vmem.Addr(l.infos+slot*l.infoSize)); err != nil {
		return Record{}, false, fmt.Errorf("log message %d: %w", id, err)
	}
	bo := v.ByteOrder()
	rec := Record{Seq: bo.Uint64(info[l.seqOff:]), TimeNsec: bo.Uint64(info[l.tsOff:])}
	// facility and the bit-fields flags:5, level:3 follow text_len (struct printk_info, unchanged from 5.10 to 7.2).
	rec.Facility = info[l.lenOff+2]
	rec.Level = info[l.lenOff+3] >> 5
	rec.setCaller(bo.Uint32(info[l.callerOff:]))
	if l.hasDev {
		rec.Subsystem = cstring(info[l.devOff : l.devOff+l.subsysLen])
		rec.Device = cstring(info[l.devOff+l.deviceOff : l.devOff+l.deviceOff+l.deviceLen])
	}
	var err error
	rec.Text, err = l.text(v, id, begin, next, uint64(bo.Uint16(info[l.lenOff:])))
	return rec, true, err
}

// text of a data block. A block lies between two logical positions; one that would cross the ring's end starts at the
// ring's beginning instead. An odd position marks a block without data.
func (l *ringLayout) text(v *kernel.View, id, begin, next, length uint64) ([]byte, error) {
	if begin&1 != 0 || begin == next {
		return nil, nil
	}
	size := uint64(1) << l.dataBits
	start, end := begin&(size-1), next&(size-1)
	if begin>>l.dataBits != next>>l.dataBits {
		if end == 0 {
			end = size
		} else {
			start = 0
		}
	}
	ws := v.WordSize()
	if end < start+ws {
		return nil, fmt.Errorf("log message %d: its text lies at %#x to %#x, which is no block: the log is damaged there", id, begin, next)
	}
	text := make([]byte, min(length, end-start-ws))
	if err := v.Read(text, vmem.Addr(l.data+start+ws)); err != nil {
		return nil, fmt.Errorf("text of log message %d: %w", id, err)
	}
	return text, nil
}

func (r *Record) setCaller(id uint32) {
	r.HasCaller = true // 0 is the task that boots
	r.Caller, r.CallerCPU = id&^callerCPUBit, id&callerCPUBit != 0
}

func cstring(p []byte) string {
	for i, c := range p {
		if c == 0 {
			return string(p[:i])
		}
	}
	return string(p)
}
