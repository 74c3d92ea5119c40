package view

import (
	"strings"
	"testing"
)

// TestPageRows: the members of pages that were asked for are fields of where and sort, and pages are read only as far as they are written.
func TestPageRows(t *testing.T) {
	read := 0
	pages := &PageMembers{
		Columns: []PageColumn{{Name: "_refcount", Width: 9, Words: 1, Decimal: true}, {Name: "flags", Width: 16, Words: 1}, {Name: "lru", Width: 33, Words: 2}},
		Rows: func(yield func([]PageMember) bool) {
			for at := uint64(0); at < 10000; at += 2000 {
				var batch []PageMember
				for i := range uint64(2000) {
					n := at + i
					batch = append(batch, PageMember{Page: 0xffffea0000000000 + 64*0x1000 + 1, Values: []MemberValue{
						{Words: []uint64{n - 1}, Digits: 8, Decimal: true}, {Words: []uint64{n << 4}, Digits: 16}, {Words: []uint64{1, n}, Digits: 16}}})
				}
				if read++; !yield(batch) {
					return
				}
			}
		},
	}
	for _, tc := range []struct{ field, op, value, want string }{
		{"members._refcount", "=", "-1", `"_refcount":-1,"flags":"0x0"`},
		{"members._refcount", "-gt", "2", `"_refcount":3,"flags":"0x40"`},
		{"members.flags", "=", "40", `"_refcount":3,"flags":"0x40"`},
		{"members.lru", "=", "bb8", `"_refcount":2999,`},
		{"page", "-gt", "10", `"_refcount":-1,`},
	} {
		r, err := Where(pages, tc.field, tc.op, tc.value)
		if err != nil {
			t.Errorf("%s: %v", tc.field, err)
			continue
		}
		read = 0
		var b strings.Builder
		for batch := range r.(*PageMembers).Rows {
			one := *pages
			one.Rows = func(yield func([]PageMember) bool) { yield(batch) }
			if err := one.StreamJSON(&b); err != nil {
				t.Fatal(err)
			}
			break
		}
		if !strings.Contains(b.String(), tc.want) {
			t.Errorf("%s %s %s: %.200s, want %s", tc.field, tc.op, tc.value, b.String(), tc.want)
		}
		if read > 2 && tc.op != "=" {
			t.Errorf("%s %s %s: %d batches were read for the first", tc.field, tc.op, tc.value, read)
		}
	}
	if _, err := Where(pages, "members.nosuch", "=", "1"); err == nil || !strings.Contains(err.Error(), "page, members._refcount, members.flags") {
		t.Errorf("a field that is not there: %v", err)
	}
}
