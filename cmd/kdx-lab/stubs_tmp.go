package main
import "context"
func runPeers(context.Context, *lab, []string) error { return nil }
func runForms(context.Context, *lab, []string) error { return nil }
func runReference(context.Context, *lab, []string) error { return nil }
func runTest(context.Context, *lab, []string) error { return nil }
func runShort(context.Context, *lab, []string) error { return nil }
func runAll(context.Context, *lab, []string) error { return nil }
