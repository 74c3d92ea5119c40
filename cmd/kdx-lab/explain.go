package main

import "strings"

// explain says why a stack may differ from drgn's, or "" if there is no reason.
func explain(s *subject, t drgnTask, st kdxStack, want pcChain) string {
	switch {
	case t.State == "Z" && len(st.Frames) == 0 && strings.Contains(st.End, "stack"):
		return "a zombie's stack is freed; drgn unwinds what lies where it was"
	}
	return ""
}
