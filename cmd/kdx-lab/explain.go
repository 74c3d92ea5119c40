package main

import (
	"fmt"
)

// explain says why a stack may differ from drgn's, or "" if there is no reason.
func explain(s *subject, t drgnTask, st kdxStack, want pcChain) string {
	switch {
	case t.State == "Z" && len(st.Frames) == 0 && st.Gone != "":
		return "a zombie's stack is freed; drgn unwinds what lies where it was"
	case beforeTracer(st, want):
		return "drgn stops where a tracer replaced the return address"
	}
	return ""
}

// beforeTracer: drgn agrees up to the frame whose return address a tracer had replaced, and takes the tracer's own code for the
// next one.
func beforeTracer(st kdxStack, want pcChain) bool {
	for i, f := range st.Frames {
		if f.Traced {
			return i < len(want.pcs) && st.End == ""
		}
		if i >= len(want.pcs) || want.pcs[i] != fmt.Sprintf("%#x", f.addr()) {
			return false
		}
	}
	return false
}
