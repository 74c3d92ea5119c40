package initrd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func TestHead(t *testing.T) {
	b := newBench(t)
	r := b.build()
	data, err := os.ReadFile(b.opt.Output)
	if err != nil {
		t.Fatal(err)
	}
	h, begin, err := ReadHead(bytes.NewReader(data), int64(len(data)))
	if err != nil || h == nil || begin%512 != 0 {
		t.Fatal(h, begin, err)
	}
	if h.Release != release || h.Kdx != b.opt.Kdx || len(h.Kernel) != 64 || h.Unpacked != r.Unpacked || h.Size != int64(len(data))-begin || h.Modules == 0 || h.Network {
		t.Errorf("%+v", h)
	}
	check := func(data []byte) error {
		err, quick := h.CheckRest(bytes.NewReader(data)), h.CheckDamage(bytes.NewReader(data))
		if fmt.Sprint(err) != fmt.Sprint(quick) {
			t.Errorf("by SHA-256 %v; by the CRC %v", err, quick)
		}
		return err
	}
	if err := check(data[begin:]); err != nil {
		t.Error(err)
	}
	for what, rest := range map[string][]byte{
		"truncated":       data[begin : len(data)-1],
		"should follow":   append(bytes.Clone(data[begin:]), 0),
		"damaged: its su": append(bytes.Clone(data[begin:len(data)-1]), data[len(data)-1]^1),
	} {
		if err := check(rest); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Show finds what the packed archive's own sums can't: a head that is not of it.
	bad := bytes.Replace(data, []byte(h.SHA256), []byte(strings.Repeat("0", 64)), 1)
	b.put("boot/bad", bad, 0o600)
	c, err := Show(t.Context(), b.root+"/boot/bad")
	if err != nil || !strings.Contains(c.Damaged, "its sum") {
		t.Errorf("%v, %v", c.Damaged, err)
	}
	for what, other := range map[string][]byte{"none": initramfsTools(t), "packed": data[begin:], "empty": nil, "short": []byte("070701")} {
		if h, _, err := ReadHead(bytes.NewReader(other), int64(len(other))); h != nil || err != nil {
			t.Errorf("%s: %+v, %v", what, h, err)
		}
	}
	if _, _, err := ReadHead(bytes.NewReader(data[:begin-1]), begin-1); err == nil {
		t.Error("a truncated head was taken")
	}
}

func FuzzHead(f *testing.F) {
	s := fileset{}
	if err := s.add(HeadPath, 0o600, []byte(`{"version":2,"size":3,"sha256":"x"}`)); err != nil {
		f.Fatal(err)
	}
	b, err := s.archive()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(b, 1, 2, 3))
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, begin, err := ReadHead(bytes.NewReader(b), int64(len(b)))
		if err != nil || h == nil {
			return
		}
		if begin < 0 || begin > int64(len(b)) {
			t.Fatal(begin)
		}
		_ = h.CheckDamage(io.NewSectionReader(bytes.NewReader(b), begin, int64(len(b))-begin))
		_ = h.CheckRest(io.NewSectionReader(bytes.NewReader(b), begin, int64(len(b))-begin))
	})
}
