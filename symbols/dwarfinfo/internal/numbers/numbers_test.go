package numbers

import (
	"encoding/binary"
	"errors"
	"testing"
)

func TestReader(t *testing.T) {
	r := Reader{Order: binary.LittleEndian, Data: []byte("\x01\x02\x00\xfe\xff\xe5\x8e\x26\x7f\x80\x7fname\x00\x07")}
	if a, b, c := r.Uint(1), r.Uint(2), r.Sint(2); a != 1 || b != 2 || c != -2 {
		t.Errorf("numbers %d, %d, %d; want 1, 2, -2", a, b, c)
	}
	if a, b, c := r.ULEB(), r.SLEB(), r.SLEB(); a != 624485 || b != -1 || c != -128 {
		t.Errorf("LEB128 %d, %d, %d; want 624485, -1, -128", a, b, c)
	}
	if s := r.CString(); string(s) != "name" || r.U8() != 7 || r.Err != nil {
		t.Errorf("%q, then %v; want the name and 7", s, r.Err)
	}
	if u := r.Offset(); u != 0 || !errors.Is(r.Err, ErrEnd) {
		t.Errorf("behind the end: %d, %v", u, r.Err)
	}
	long := Reader{Data: []byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")}
	if u := long.ULEB(); u != 0 || long.Err == nil {
		t.Errorf("a number without end: %d, %v", u, long.Err)
	}
	for off, want := range map[uint64]string{0: "a", 2: "b"} {
		if s, err := StringAt([]byte("a\x00b\x00c"), off); err != nil || string(s) != want {
			t.Errorf("StringAt(%d) = %q, %v; want %q", off, s, err, want)
		}
	}
	for _, off := range []uint64{4, 5, 1 << 40} {
		if s, err := StringAt([]byte("a\x00b\x00c"), off); err == nil {
			t.Errorf("StringAt(%d) = %q; want an error", off, s)
		}
	}
}
