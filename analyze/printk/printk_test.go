package printk

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

// ringInfo is VMCOREINFO's description of a ring as 6.12 lays it out.
const ringInfo = `SYMBOL(prb)=%x
OFFSET(printk_ringbuffer.desc_ring)=0
OFFSET(printk_ringbuffer.text_data_ring)=48
OFFSET(prb_desc_ring.count_bits)=0
OFFSET(prb_desc_ring.descs)=8
OFFSET(prb_desc_ring.infos)=16
OFFSET(prb_desc_ring.head_id)=24
OFFSET(prb_desc_ring.tail_id)=32
SIZE(prb_desc)=24
OFFSET(prb_desc.state_var)=0
OFFSET(prb_desc.text_blk_lpos)=8
OFFSET(prb_data_blk_lpos.begin)=0
OFFSET(prb_data_blk_lpos.next)=8
SIZE(printk_info)=88
OFFSET(printk_info.seq)=0
OFFSET(printk_info.ts_nsec)=8
OFFSET(printk_info.text_len)=16
OFFSET(printk_info.caller_id)=20
OFFSET(printk_info.dev_info)=24
OFFSET(dev_printk_info.subsystem)=0
OFFSET(dev_printk_info.device)=16
LENGTH(printk_info_subsystem)=16
LENGTH(printk_info_device)=48
OFFSET(prb_data_ring.size_bits)=0
OFFSET(prb_data_ring.data)=8
`

const (
	ringBits = 2
	dataBits = 8
)

// ringMachine is a kernel whose ring has 4 descriptors and 256 bytes of text.
type ringMachine struct {
	*kerneltest.Machine
	ring, descs, infos, data vmem.Addr
}

func newRing(t testing.TB) *ringMachine {
	m := &ringMachine{Machine: kerneltest.New(t, "")}
	prb := m.Alloc(8)
	m.ring, m.descs, m.infos, m.data = m.Alloc(128), m.Alloc(24<<ringBits), m.Alloc(88<<ringBits), m.AllocPage()
	m.Word(prb, uint64(m.ring))
	m.Put(m.ring, 4, ringBits)
	m.Word(m.ring+8, uint64(m.descs))
	m.Word(m.ring+16, uint64(m.infos))
	m.Put(m.ring+48, 4, dataBits)
	m.Word(m.ring+56, uint64(m.data))
	m.VMCoreInfo(fmt.Sprintf(ringInfo, uint64(prb)))
	return m
}

func (m *ringMachine) span(tail, head uint64) { m.Word(m.ring+32, tail); m.Word(m.ring+24, head) }

// put writes message id at logical positions begin to next.
func (m *ringMachine) put(id, state, begin, next uint64, text string) {
	slot := vmem.Addr(id % (1 << ringBits))
	d, in := m.descs+slot*24, m.infos+slot*88
	m.Word(d, state<<62|id)
	m.Word(d+8, begin)
	m.Word(d+16, next)
	m.Word(in, id)
	m.Word(in+8, id*1000)
	m.Put(in+16, 2, uint64(len(text)))
	m.Put(in+18, 1, 3)
	m.Put(in+19, 1, 4<<5)
	m.Put(in+20, 4, 1<<31|1)
	m.Write(in+24, []byte("pci\x00"))
	m.Write(in+40, []byte("+pci:0000\x00"))
	if begin&1 == 0 && text != "" {
		start := begin % (1 << dataBits)
		if begin>>dataBits != next>>dataBits && next%(1<<dataBits) != 0 {
			start = 0
		}
		m.Word(m.data+vmem.Addr(start), id)
		m.Write(m.data+vmem.Addr(start)+8, []byte(text))
	}
}

func (m *ringMachine) read(t *testing.T) (texts []string, errs string) {
	t.Helper()
	var es []string
	for rec, err := range Records(m.View()) {
		if err != nil {
			es = append(es, err.Error())
			continue
		}
		texts = append(texts, string(rec.Text))
	}
	return texts, strings.Join(es, "; ")
}

func TestRing(t *testing.T) {
	m := newRing(t)
	m.span(5, 8)
	m.put(5, descFinalized, 32, 48, "one")
	m.put(6, 0, 48, 72, "half written")
	m.put(7, descCommitted, 240, 256+24, "wrapped") // crosses the end: the text is at the start
	m.put(8, descFinalized, 3, 3, "")
	got, errs := m.read(t)
	if want := []string{"one", "wrapped", ""}; fmt.Sprint(got) != fmt.Sprint(want) || errs != "" {
		t.Errorf("Records = %q, errors %q; want %q", got, errs, want)
	}
	for rec := range Records(m.View()) {
		if rec.Seq != 5 || rec.TimeNsec != 5000 || rec.Level != 4 || rec.Facility != 3 || rec.Caller != 1 || !rec.CallerCPU || rec.Subsystem != "pci" || rec.Device != "+pci:0000" {
			t.Errorf("first record = %+v; want seq 5 at 5000 ns, level 4, facility 3, CPU 1, device", rec)
		}
		break
	}
}

func TestRingDamaged(t *testing.T) {
	tests := []struct {
		name string
		prep func(m *ringMachine)
		want string // messages, then what an error must say
		err  string
	}{
		{"a block that is none", func(m *ringMachine) {
			m.span(0, 1)
			m.put(0, descFinalized, 64, 66, "short")
			m.put(1, descFinalized, 16, 40, "fine")
		}, "[fine]", "which is no block"},
		{"a text that claims more than its block", func(m *ringMachine) {
			m.span(0, 0)
			m.put(0, descFinalized, 0, 16, "12345678901234567890")
		}, "[12345678]", ""},
		{"text excluded", func(m *ringMachine) {
			m.span(0, 0)
			m.put(0, descFinalized, 0, 16, "x")
			m.Exclude(m.data)
		}, "[]", "excluded"},
		{"head far before tail", func(m *ringMachine) {
			m.span(100, 3)
			m.put(3, descFinalized, 0, 16, "x")
		}, "[]", "head or tail is damaged"},
		{"a ring of 2^60", func(m *ringMachine) { m.Put(m.ring, 4, 60) }, "[]", "header at"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			m := newRing(t)
			tc.prep(m)
			got, errs := m.read(t)
			if fmt.Sprint(got) != tc.want || tc.err == "" && errs != "" || !strings.Contains(errs, tc.err) {
				t.Errorf("Records = %q, errors %q; want %s and %q", got, errs, tc.want, tc.err)
			}
		})
	}
}

const recordInfo = `SYMBOL(log_buf)=%x
SYMBOL(log_buf_len)=%x
SYMBOL(log_first_idx)=%x
SYMBOL(log_next_idx)=%x
SIZE(printk_log)=16
OFFSET(printk_log.ts_nsec)=0
OFFSET(printk_log.len)=8
OFFSET(printk_log.text_len)=10
OFFSET(printk_log.dict_len)=12
`

// recordMachine has the record log of 3.5 to 5.9 with the given bytes, first and next index.
func recordMachine(t testing.TB, log []byte, first, next uint64) *kerneltest.Machine {
	m := kerneltest.New(t, "")
	vars := m.Alloc(64)
	buf := m.AllocPage()
	m.Write(buf, log)
	m.Word(vars, uint64(buf))
	m.Put(vars+8, 4, uint64(len(log)))
	m.Put(vars+16, 4, first)
	m.Put(vars+24, 4, next)
	m.VMCoreInfo(fmt.Sprintf(recordInfo, uint64(vars), uint64(vars)+8, uint64(vars)+16, uint64(vars)+24))
	return m
}

func record(ts uint64, text, dict string, pad int) []byte {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint64(b, ts)
	binary.LittleEndian.PutUint16(b[8:], uint16(16+len(text)+len(dict)+pad))
	binary.LittleEndian.PutUint16(b[10:], uint16(len(text)))
	binary.LittleEndian.PutUint16(b[12:], uint16(len(dict)))
	b[14], b[15] = 1, 6<<5
	return append(append(append(b, text...), dict...), make([]byte, pad)...)
}

func TestRecordLog(t *testing.T) {
	old := record(1, "oldest", "", 2)
	wrap := make([]byte, 16) // length 0: on to the start
	newest := record(2, "newest", "SUBSYSTEM=usb\x00DEVICE=c189:0", 1)
	log := append(append(append([]byte{}, newest...), old...), wrap...)
	// first == next is an empty log; start at the old record and end behind the new one
	m := recordMachine(t, append(log, make([]byte, 64)...), uint64(len(newest)), uint64(len(newest)))
	if n := count(m); n != 0 {
		t.Errorf("an empty log has %d records; want none", n)
	}
	m = recordMachine(t, append(append(append([]byte{}, newest...), record(9, "gap", "", 0)...), append(old, wrap...)...),
		uint64(len(newest))+uint64(len(record(9, "gap", "", 0))), uint64(len(newest)))
	var got []Record
	for r, err := range Records(m.View()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != 2 || string(got[0].Text) != "oldest" || string(got[1].Text) != "newest" || got[1].Subsystem != "usb" || got[1].Device != "c189:0" || got[1].Level != 6 {
		t.Errorf("Records = %+v; want the oldest, then behind the wrap the newest with its device", got)
	}
}

func count(m *kerneltest.Machine) (n int) {
	for range Records(m.View()) {
		n++
	}
	return n
}

func TestRecordLogDamaged(t *testing.T) {
	two := append(make([]byte, 16), make([]byte, 16)...)
	short := record(1, "x", "", 0)
	binary.LittleEndian.PutUint16(short[8:], 3)
	for name, tc := range map[string]struct {
		log         []byte
		first, next uint64
		want        string
	}{
		"wraps twice":         {two, 0, 999, "wraps around twice"},
		"shorter than header": {append(short, make([]byte, 64)...), 0, 40, "less than its header"},
		"beyond the buffer":   {record(1, "x", "", 0), 10, 999, "beyond its buffer"},
	} {
		var last error
		for _, err := range Records(recordMachine(t, tc.log, tc.first, tc.next).View()) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), tc.want) {
			t.Errorf("%s: error = %v; want %q", name, last, tc.want)
		}
	}
}

func TestNoLog(t *testing.T) {
	for _, err := range Records(kerneltest.New(t, "").View()) {
		if err != ErrNoLog {
			t.Errorf("Records = %v; want ErrNoLog", err)
		}
	}
}

// FuzzRing: a log can hold anything.
func FuzzRing(f *testing.F) {
	f.Add(uint64(5), uint64(8), uint64(0), uint64(16), uint64(2)<<62|5, uint16(3))
	f.Add(uint64(0), ^uint64(0)>>2, uint64(255), uint64(1), uint64(1)<<62, uint16(65535))
	f.Fuzz(func(t *testing.T, tail, head, begin, next, state uint64, length uint16) {
		m := newRing(t)
		m.span(tail, head)
		for slot := range vmem.Addr(1 << ringBits) {
			m.Word(m.descs+slot*24, state+uint64(slot))
			m.Word(m.descs+slot*24+8, begin)
			m.Word(m.descs+slot*24+16, next)
			m.Put(m.infos+slot*88+16, 2, uint64(length))
		}
		n := 0
		for rec := range Records(m.View()) {
			if len(rec.Text) > 1<<dataBits {
				t.Fatalf("a text of %d bytes out of a ring of %d", len(rec.Text), 1<<dataBits)
			}
			if n++; n > 1<<ringBits+1 {
				t.Fatalf("%d records out of %d descriptors", n, 1<<ringBits)
			}
		}
	})
}
