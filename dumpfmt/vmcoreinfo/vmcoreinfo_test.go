package vmcoreinfo

import (
	"slices"
	"strings"
	"testing"
)

const sample = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\nSIZE(page)=64\nOFFSET(page.flags)=0\n" +
	"LENGTH(zone.free_area)=11\nNUMBER(phys_base)=-16777216\nNUMBER(VMALLOC_START)=0xffffa00000000000\nNUMBER(sme_mask)=9223372036854775808\n" +
	"no value here\nKERNELOFFSET=31000000\nCONFIG(X)=y\nOSRELEASE=6.1.1\nCRASHTIME=1700000000\n\x00\x00"

func TestParse(t *testing.T) {
	i := Parse([]byte(sample))
	type result struct {
		v  any
		ok bool
	}
	get := func(v any, ok bool) result { return result{v, ok} }
	str := func(key string) result { v, ok := i.Get(key); return get(v, ok) }
	num := func(name string) result { v, ok := i.Number(name); return get(v, ok) }
	sym := func(name string) result { v, ok := i.Symbol(name); return get(v, ok) }
	size := func(name string) result { v, ok := i.Size(name); return get(v, ok) }
	for _, test := range []struct {
		what      string
		got, want result
	}{
		{"last of a repeated key", str("OSRELEASE"), result{"6.1.1", true}},
		{"a config", str("CONFIG(X)"), result{"y", true}},
		{"negative number", num("phys_base"), result{int64(-16777216), true}},
		{"hexadecimal number", num("VMALLOC_START"), result{int64(-0x600000000000), true}},
		{"number beyond 63 bits", num("sme_mask"), result{int64(-1 << 63), true}},
		{"missing number", num("nothing"), result{int64(0), false}},
		{"symbol", sym("_stext"), result{uint64(0xffffffff81000000), true}},
		{"missing symbol", sym("x"), result{uint64(0), false}},
		{"size", size("page"), result{uint64(64), true}},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v; want %v", test.what, test.got, test.want)
		}
	}
	if v, ok := i.Hex("KERNELOFFSET"); v != 0x31000000 || !ok {
		t.Errorf("Hex(KERNELOFFSET) = %#x, %v", v, ok)
	}
	if strings.HasSuffix(i.Text(), "\x00") || slices.Contains(i.Keys(), "no value here") {
		t.Errorf("Text() or Keys() keep what they should not: %q", i.Keys())
	}
	var none *Info
	if _, ok := none.Number("x"); ok {
		t.Error("a nil Info has a number")
	}
}

func FuzzVMCoreInfo(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("=\n\x00=a\nNUMBER(x)=0x\nSYMBOL(=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i := Parse(b)
		for _, key := range i.Keys() {
			if _, ok := i.Get(key); !ok {
				t.Fatalf("key %q has no value", key)
			}
			i.Hex(key)
			i.Decimal(key)
		}
	})
}
