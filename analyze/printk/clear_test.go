package printk

import (
	"fmt"
	"testing"
)

func TestCleared(t *testing.T) {
	for _, tt := range []struct {
		name  string
		info  string
		latch uint64
		want  uint64
	}{
		{"plain, before 5.13", "", 7, 7},
		{"first copy", "SIZE(latched_seq)=24\nOFFSET(latched_seq.val)=8\n", 2, 11},
		{"second copy", "SIZE(latched_seq)=24\nOFFSET(latched_seq.val)=8\n", 3, 12},
	} {
		m := newRing(t)
		at := m.Alloc(24)
		m.Word(at, tt.latch)
		m.Word(at+8, 11)
		m.Word(at+16, 12)
		m.VMCoreInfo(fmt.Sprintf("SYMBOL(prb)=1000\nSYMBOL(clear_seq)=%x\n%s", uint64(at), tt.info))
		if got, err := Cleared(m.View()); got != tt.want || err != nil {
			t.Errorf("%s: Cleared = %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
	m := newRing(t)
	if _, err := Cleared(m.View()); err == nil {
		t.Error("Cleared without clear_seq gave no error")
	}
}
