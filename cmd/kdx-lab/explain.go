package main

// explain says why a stack may differ from drgn's, or "" if there is no reason.
func explain(s *subject, t drgnTask, st kdxStack, want pcChain) string {
	return ""
}
