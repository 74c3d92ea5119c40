package bpf

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

const decls = `
struct xarray { int xa_flags; void *xa_head; };
struct xa_node { unsigned char shift; unsigned char offset; struct xa_node *parent; void *slots[16]; };
struct idr { struct xarray idr_rt; unsigned int idr_base; };
enum bpf_prog_type { BPF_PROG_TYPE_UNSPEC, BPF_PROG_TYPE_SOCKET_FILTER, BPF_PROG_TYPE_XDP = 6 };
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_RINGBUF = 27 };
struct bpf_insn { unsigned char code; unsigned char regs; short off; int imm; };
struct bpf_prog { unsigned short pages; unsigned short jited : 1; unsigned short gpl_compatible : 1; enum bpf_prog_type type; unsigned int len; unsigned int jited_len;
  unsigned char tag[8]; struct bpf_prog_aux *aux; void *bpf_func; struct bpf_insn insnsi[]; };
struct bpf_prog_aux { unsigned int used_map_cnt; unsigned int id; unsigned int func_cnt; struct bpf_prog **func; struct bpf_map **used_maps; struct user_struct *user;
  unsigned long load_time; char name[16]; };
struct kuid { unsigned int val; };
struct user_struct { struct kuid uid; };
struct bpf_map { enum bpf_map_type map_type; unsigned int key_size; unsigned int value_size; unsigned int max_entries; unsigned int map_flags; unsigned int id; char name[16]; };
struct bpf_ringbuf { int nr_pages; };
struct bpf_ringbuf_map { struct bpf_map map; struct bpf_ringbuf *rb; };
`

const wild = 0xdead000000000100

type world struct {
	*kerneltest.Machine
	progs, maps vmem.Addr // nodes of the tables
}

func newWorld(t *testing.T) world {
	w := world{Machine: kerneltest.New(t, decls)}
	table := func(name string) vmem.Addr {
		idr, node := w.Alloc(64), w.Alloc(256)
		w.Var(name, idr, "struct idr")
		w.Set(idr, "xarray", "xa_head", uint64(node)|2)
		return node
	}
	w.progs, w.maps = table("prog_idr"), table("map_idr")
	return w
}

func (w world) slot(node vmem.Addr, i int, p vmem.Addr) {
	w.Word(node+vmem.Addr(w.Offset("xa_node", "slots")+uint64(i)*8), uint64(p))
}

func (w world) bpfMap(id, typ uint64) vmem.Addr {
	m := w.Alloc(128)
	for k, x := range map[string]uint64{"id": id, "map_type": typ, "key_size": 4, "value_size": 8, "max_entries": 4096} {
		w.Set(m, "bpf_map", k, x)
	}
	return m
}

func (w world) program(id uint64, maps ...vmem.Addr) (prog, aux vmem.Addr) {
	p, a, used, user := w.Alloc(256), w.Alloc(128), w.Alloc(64), w.Alloc(16)
	w.Set(p, "bpf_prog", "type", 6)
	w.Set(p, "bpf_prog", "aux", uint64(a))
	w.Set(p, "bpf_prog", "len", 2)
	w.Set(p, "bpf_prog", "jited_len", 20)
	w.Put(p+2, 1, 3)
	w.Write(p+vmem.Addr(w.Offset("bpf_prog", "insnsi")), []byte{0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0})
	w.Set(a, "bpf_prog_aux", "id", id)
	w.Set(a, "bpf_prog_aux", "user", uint64(user))
	w.Set(user, "user_struct", "uid", 1000)
	w.Set(a, "bpf_prog_aux", "used_map_cnt", uint64(len(maps)))
	w.Set(a, "bpf_prog_aux", "used_maps", uint64(used))
	for i, m := range maps {
		w.Word(used+vmem.Addr(i*8), uint64(m))
	}
	return p, a
}

// TestPrograms: a whole one with its maps, and those that lead astray.
func TestPrograms(t *testing.T) {
	w := newWorld(t)
	m := w.bpfMap(19, 1)
	p, _ := w.program(2, m)
	w.slot(w.progs, 2, p)
	w.slot(w.progs, 3, p)
	w.slot(w.progs, 4, vmem.Addr(wild))
	for i, spoil := range []string{"used_maps", "user"} {
		q, aux := w.program(uint64(5+i), m)
		w.Set(aux, "bpf_prog_aux", spoil, wild)
		w.slot(w.progs, 5+i, q)
	}
	many, aux := w.program(7)
	w.Set(aux, "bpf_prog_aux", "used_map_cnt", 1<<30)
	w.slot(w.progs, 7, many)
	funcs, aux := w.program(8)
	list := w.Alloc(16)
	w.Set(aux, "bpf_prog_aux", "func_cnt", 2)
	w.Set(aux, "bpf_prog_aux", "func", uint64(list))
	w.Word(list, uint64(p))
	w.Word(list+8, uint64(many))
	w.slot(w.progs, 8, funcs)
	got := ""
	v := w.View()
	for p, err := range Programs(v) {
		if p != nil {
			got += fmt.Sprintf("%d %s %v %d %d;", p.ID, p.Type, p.Maps, p.Jited, len(p.Code))
		}
		got += kerneltest.Ending(err)
	}
	want := "2 XDP [19] 20 1;loop;0  [] 0 0;error;5 XDP [] 20 1;error;6 XDP [] 20 1;error;7 XDP [] 20 1;error;8 XDP [] 40 2;"
	if got != want {
		t.Errorf("%s; want %s", got, want)
	}
	text, err := Text(v, &Program{Addr: p})
	if err != nil || len(text) != 2 || text[0].Text != "r0 = 2" || text[1].Text != "exit" {
		t.Errorf("text: %v, %v", text, err)
	}
	w = newWorld(t)
	p, _ = w.program(2)
	w.Set(p, "bpf_prog", "len", 1<<31)
	if _, err := Text(w.View(), &Program{Addr: p}); err == nil {
		t.Error("a program of 2^31 instructions")
	}
}

// TestMaps: what maps hold in memory.
func TestMaps(t *testing.T) {
	w := newWorld(t)
	w.slot(w.maps, 1, w.bpfMap(1, 1))
	ring, rb := w.bpfMap(2, 27), w.Alloc(16)
	w.Set(ring, "bpf_ringbuf_map", "rb", uint64(rb))
	w.Set(rb, "bpf_ringbuf", "nr_pages", 4)
	w.slot(w.maps, 2, ring)
	astray := w.bpfMap(3, 27)
	w.Set(astray, "bpf_ringbuf_map", "rb", wild)
	w.slot(w.maps, 3, astray)
	w.slot(w.maps, 4, vmem.Addr(wild))
	got := ""
	for m, err := range Maps(w.View()) {
		got += fmt.Sprintf("%d %s %d;", m.ID, m.Type, m.Memory) + kerneltest.Ending(err)
	}
	if want := "1 HASH 65536;2 RINGBUF 16472;3 RINGBUF 0;error;0  0;error;"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
}

func names(what Operand, x uint64) string {
	if what == MapAddress && x == 0x1122334455667788 {
		return "map[id:1]"
	}
	if what == Helper && x == 7 {
		return "helper"
	}
	return ""
}

// TestInsn: each form, spelt as the verifier's log spells it.
func TestInsn(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{"620afcff03000000", "*(u32 *)(r10 -4) = 3"},
		{"bfa2000000000000", "r2 = r10"},
		{"bca2000000000000", "w2 = w10"},
		{"07020000fcffffff", "r2 += -4"},
		{"18010000887766550000000044332211", "r1 = map[id:1]"},
		{"18010000010000000000000000000000", "r1 = 0x1"},
		{"8500000007000000", "call helper#7"},
		{"8500000008000000", "call unknown#8"},
		{"8520000008000000", "call kernel-function#8"},
		{"8510000005000000", "call pc+5"},
		{"1500010000000000", "if r0 == 0x0 goto pc+1"},
		{"1d120200ffffffff", "if r2 == r1 goto pc+2"},
		{"16000100ffffffff", "if w0 == 0xffffffff goto pc+1"},
		{"0500fdff00000000", "goto pc-3"},
		{"0600000009000000", "gotol pc+9"},
		{"9500000000000000", "exit"},
		{"f500000000000000", "tail_call"},
		{"7921080000000000", "r1 = *(u64 *)(r2 +8)"},
		{"9121080000000000", "r1 = *(s8 *)(r2 +8)"},
		{"7b21080000000000", "*(u64 *)(r1 +8) = r2"},
		{"db21000000000000", "lock *(u64 *)(r1 +0) += r2"},
		{"db21000001000000", "r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)"},
		{"c321000001000000", "r2 = atomic_fetch_add((u32 *)(r1 +0), r2)"},
		{"db210000f1000000", "r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)"},
		{"db210000e1000000", "r2 = atomic64_xchg((u64 *)(r1 +0), r2)"},
		{"dc01000010000000", "r1 = be16 r1"},
		{"d401000040000000", "r1 = le64 r1"},
		{"d701000020000000", "r1 = bswap32 r1"},
		{"8701000000000000", "r1 = -r1"},
		{"bf21080000000000", "r1 = (s8)r2"},
		{"3f21010000000000", "r1 s/= r2"},
		{"c701000004000000", "r1 s>>= 4"},
		{"300000000e000000", "r0 = *(u8 *)skb[14]"},
		{"482000000e000000", "r0 = *(u16 *)skb[r2 + 14]"},
		{"c200000000000000", "nospec"},
		{"e500020000000000", "may_goto pc+2"},
		{"ff00000000000000", "(unknown opcode ff)"},
	} {
		code, err := hex.DecodeString(tt.code)
		if err != nil {
			t.Fatal(err)
		}
		got := Decode(code, binary.LittleEndian, names)
		if len(got) != 1 || got[0].Text != tt.want {
			t.Errorf("%s: %+v; want %q", tt.code, got, tt.want)
		}
	}
	if got := Decode([]byte{0x95, 0, 0, 0, 0, 0, 0, 0, 1}, binary.LittleEndian, names); len(got) != 1 {
		t.Errorf("a tail of one byte: %+v", got)
	}
}

func FuzzInsn(f *testing.F) {
	for _, s := range []string{"18010000887766550000000044332211", "1801000088776655", "db21000001000000", "ff", "85000000"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for _, bo := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			n = 0
			for _, in := range Decode(b, bo, names) {
				n += len(in.Bytes)
				if strings.TrimSpace(in.Text) == "" {
					t.Errorf("%x: no text", in.Bytes)
				}
			}
		}
		if n != len(b)/insnSize*insnSize {
			t.Errorf("%d of %d bytes were decoded", n, len(b))
		}
	})
}
