package symbols_test

import (
	"fmt"

	"kdx/symbols"
	"kdx/symbols/cdecl"
)

func ExampleType_OffsetOf() {
	t, err := cdecl.ParseType(cdecl.Lookup{}, "struct { u32 state; struct { u64 sp; u16 es; } thread[2]; }")
	if err != nil {
		fmt.Println(err)
		return
	}
	off, ok := t.OffsetOf("thread[1].es")
	fmt.Println(off, ok, t.Size)
	// Output: 32 true 40
}

func ExampleType_Declare() {
	_, t, err := cdecl.ParseDecl(cdecl.Lookup{}, "int (*handlers[4])(void *data, ...)")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.Declare("h"))
	fmt.Println(t.Elem().Declare("one"))
	fmt.Println(t.Size, t.Kind == symbols.Array)
	// Output:
	// int (*h[4])(void *data, ...)
	// int (*one)(void *data, ...)
	// 32 true
}
