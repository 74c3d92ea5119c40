package net

import (
	"context"
	"testing"
	"time"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

// FuzzNet reads sockets, neighbours and devices whose words are anything, or lead to each other: reading ends.
func FuzzNet(f *testing.F) {
	f.Add(uint16(AFInet), uint16(1), uint16(6), []byte{})
	f.Add(uint16(AFInet6), uint16(2), uint16(17), []byte{0, 1, 3, 1, 0, 9, 2, 4, 200})
	f.Add(uint16(AFUnix), uint16(1), uint16(0), []byte{3, 3, 100, 3, 4, 101, 3, 5, 255})
	f.Fuzz(func(t *testing.T, family, typ, proto uint16, words []byte) {
		s := newSocket(t, uint64(family), uint64(typ), uint64(proto), 1)
		m := s.m
		tbl, nht, heads, near := m.Alloc(64), m.Alloc(64), m.Alloc(64), m.Alloc(128)
		m.Var("arp_tbl", tbl, "struct neigh_table")
		m.Set(tbl, "neigh_table", "key_len", 4)
		m.Set(tbl, "neigh_table", "nht", uint64(nht))
		m.Set(nht, "neigh_hash_table", "hash_shift", 1)
		m.Set(nht, "neigh_hash_table", "hash_buckets", uint64(heads))
		dev := device(m, "eth0")
		m.Word(heads, uint64(near))
		m.Set(near, "neighbour", "dev", uint64(dev))
		scatter(m, []vmem.Addr{s.sk, s.sock, tbl, nht, heads, near, dev}, words)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		v := m.ViewContext(ctx)
		if x, err := ReadSocket(v, s.sock); err == nil {
			_, _ = x.FamilyType(), x.StateName()
		}
		n := 0
		for range Neighbours(v, "arp_tbl") {
			if n++; n > 1<<20 {
				t.Fatal("more neighbours than memory can hold")
			}
		}
		if err := ctx.Err(); err != nil {
			t.Fatalf("reading did not end: %v", err)
		}
	})
}

// scatter overwrites words of the objects: with small numbers, addresses of them, and addresses of nobody's.
func scatter(m *kerneltest.Machine, objects []vmem.Addr, words []byte) {
	for i := 0; i+2 < len(words); i += 3 {
		to := uint64(words[i+2])
		if to >= 64 {
			to = uint64(append(objects, wild, ^vmem.Addr(0))[to%uint64(len(objects)+2)]) + to&8
		}
		m.Word(objects[int(words[i])%len(objects)]+vmem.Addr(words[i+1]%16*8), to)
	}
}
