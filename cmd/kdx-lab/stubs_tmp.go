package main

import "context"

func runTest(context.Context, *lab, []string) error  { return nil }
func runShort(context.Context, *lab, []string) error { return nil }
func runAll(context.Context, *lab, []string) error   { return nil }
