package demangle

import (
	"strings"
	"testing"
)

// Forms of names from RFC 2603, and of the older scheme.
var names = []struct{ mangled, want string }{
	{"_RNvCskwGfYPst2Cb_3foo16example_function", "foo::example_function"},
	{"_RNvC6_123foo3bar", "123foo::bar"},
	{"_RINbNbCskIICzLVDPPb_5alloc5alloc8box_freeDINbNiB4_5boxed5FnBoxuEp6OutputuEL_ECs1iopQbuBiw2_3std",
		"alloc::alloc::box_free::<dyn alloc::boxed::FnBox<(), Output = ()>>"},
	{"_RNvXs_NtCs1234_7mycrate3fooNtB4_3barNtCs5678_4core5Debug3fmt.llvm.1234", "<mycrate::foo::bar as core::Debug>::fmt"},
	{"_RNvC6_123foo3bar.cold", "123foo::bar.cold"},
	{"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"},
	{"_ZN36_$LT$T$u20$as$u20$core..any..Any$GT$7type_id17h0123456789abcdefE", "<T as core::any::Any>::type_id"},
	{"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE.llvm.77", "core::fmt::Formatter::pad"},
	{"_ZN3foo3barEv", "_ZN3foo3barEv"}, // C++
	{"schedule", "schedule"},
	{"_RNv", "_RNv"},
	{"_RAW_SPIN", "_RAW_SPIN"},
	{"", ""},
}

func TestName(t *testing.T) {
	for _, tt := range names {
		if got := Name(tt.mangled); got != tt.want {
			t.Errorf("Name(%s) = %s; want %s", tt.mangled, got, tt.want)
		}
	}
	if long := "_R" + strings.Repeat("N", maxName); Name(long) != long {
		t.Error("a name longer than compilers write is read")
	}
}

func TestText(t *testing.T) {
	for from, want := range map[string]string{
		"RIP: 0010:_RNvC6_123foo3bar+0x14/0x20":                         "RIP: 0010:123foo::bar+0x14/0x20",
		" ? _ZN4core3fmt9Formatter3pad17h0123456789abcdefE+0x1/0x2 [m]": " ? core::fmt::Formatter::pad+0x1/0x2 [m]",
		"MY_RNvC6_123foo3bar _Rx":                                       "MY_RNvC6_123foo3bar _Rx",
		"nothing":                                                       "nothing",
	} {
		if got := Text(from); got != want {
			t.Errorf("Text(%q) = %q; want %q", from, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, tt := range names {
		f.Add(tt.mangled)
	}
	f.Fuzz(func(t *testing.T, s string) {
		Name(s)
		Name("_R" + s)
		Name("_ZN" + s + "17h0123456789abcdefE")
		Text(s)
	})
}
