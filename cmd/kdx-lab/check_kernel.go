package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// address reads an address as kdx's JSON and /proc write it.
func address(s string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	return n
}

// checkModules: the modules of /proc/modules with their sizes and addresses, in any order.
func checkModules(ctx context.Context, s *subject) (string, error) {
	var mods struct {
		Rows []struct {
			Name string `json:"name"`
			Base string `json:"text_base"`
			Size uint64 `json:"size_bytes"`
		} `json:"modules"`
	}
	if err := s.ask(ctx, []string{"mod"}, &mods); err != nil {
		return "", err
	}
	want, err := parseModules(s.truth.Proc["/proc/modules"])
	if err != nil {
		return "", err
	}
	got := map[string]saidModule{}
	for _, m := range mods.Rows {
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
	if len(mods.Rows) != len(want) {
		d.add("%d modules; want %d", len(mods.Rows), len(want))
	}
	return fmt.Sprintf("%d modules", len(want)), d.err()
}

// kdxSymbol is an answer of sym.
type kdxSymbol struct {
	Name   string `json:"name"`
	Addr   string `json:"address"`
	Offset uint64 `json:"offset"`
	Module string `json:"module"`
}

func (a kdxSymbol) is(w kdxSymbol) bool {
	return a.Name == w.Name && address(a.Addr) == address(w.Addr) && a.Offset == 0 && a.Module == w.Module
}

// checkSymbols: a sample of /proc/kallsyms, the kernel's own by name, its modules' by address, since static names repeat. Where
// several symbols share an address, the other way round must find it.
func checkSymbols(ctx context.Context, s *subject) (string, error) {
	var want []kdxSymbol
	for _, k := range s.truth.Kallsyms.Sample {
		want = append(want, kdxSymbol{Name: k[2], Addr: k[0]})
	}
	for _, k := range s.truth.Kallsyms.ModuleSample {
		if !strings.HasPrefix(k[2], ".L") && k[1] != "a" { // the assembler's own labels; absolute values are no addresses
			want = append(want, kdxSymbol{Name: k[2], Addr: k[0], Module: k[3]})
		}
	}
	missing, err := s.symbols(ctx, want, func(w kdxSymbol) bool { return w.Module == "" })
	if err == nil && len(missing) > 0 {
		missing, err = s.symbols(ctx, missing, func(w kdxSymbol) bool { return w.Module != "" })
	}
	if err != nil {
		return "", err
	}
	var d differences
	for _, w := range missing {
		d.add("sym does not find %s at %s %s", w.Name, w.Addr, w.Module)
	}
	return fmt.Sprintf("%d of %d", len(want), s.truth.Kallsyms.Lines+s.truth.Kallsyms.Module), d.err()
}

// symbols asks for each symbol, by name or by address, and returns those that are not among the answers.
func (s *subject) symbols(ctx context.Context, want []kdxSymbol, byName func(kdxSymbol) bool) (missing []kdxSymbol, err error) {
	commands := make([]string, len(want))
	answers := make([][]kdxSymbol, len(want))
	into := make([]any, len(want))
	for i, w := range want {
		commands[i], into[i] = "sym "+w.Addr, &answers[i]
		if byName(w) {
			commands[i] = "sym " + w.Name
		}
	}
	if err := s.ask(ctx, commands, into...); err != nil {
		return nil, err
	}
	for i, w := range want {
		if !slices.ContainsFunc(answers[i], w.is) {
			missing = append(missing, w)
		}
	}
	return missing, nil
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// atMost is how long after the truth a guest may have died: the longest way, a hung task, takes some twenty seconds of its time.
const atMost = 3 * time.Minute

// checkSys: release, version, processors, machine, times and the panic, against uname, /proc/uptime, /proc/loadavg, /proc/meminfo.
func checkSys(ctx context.Context, s *subject) (string, error) {
	var sys struct {
		CPUs     int        `json:"cpus"`
		Date     time.Time  `json:"date"`
		Uptime   float64    `json:"uptime_seconds"`
		Load     [3]float64 `json:"load_average"`
		Tasks    int        `json:"tasks"`
		Nodename string     `json:"nodename"`
		Release  string     `json:"release"`
		Version  string     `json:"version"`
		Machine  string     `json:"machine"`
		Memory   uint64     `json:"memory_bytes"`
		Taint    *string    `json:"taint"`
		Panic    string     `json:"panic"`
		Context  struct {
			Comm  string `json:"comm"`
			Panic bool   `json:"panic"`
		} `json:"context"`
	}
	var ps struct {
		Tasks []kdxTask `json:"tasks"`
	}
	if err := s.ask(ctx, []string{"sys", "ps"}, &sys, &ps); err != nil {
		return "", err
	}
	var d differences
	u := s.truth.Uname
	if got := []string{"Linux", sys.Nodename, sys.Release, sys.Version, sys.Machine}; !slices.Equal(got, u) {
		d.add("uname = %q; want %q", got, u)
	}
	if n := len(s.truth.present()); sys.CPUs != n {
		d.add("%d CPUs; want %d", sys.CPUs, n)
	}
	if sys.Tasks != len(ps.Tasks) {
		d.add("%d tasks, but ps lists %d", sys.Tasks, len(ps.Tasks))
	}
	if age := time.Duration(sys.Uptime*1e9) - time.Duration(s.truth.BootNs); age < -time.Second || age > atMost {
		d.add("up %.1f s; the guest said %.1f s before it died", sys.Uptime, float64(s.truth.BootNs)/1e9)
	}
	if age := sys.Date.Sub(time.Unix(0, s.truth.TakenNs)); age < -2*time.Second || age > atMost {
		d.add("date %v; the guest said %v before it died", sys.Date, time.Unix(0, s.truth.TakenNs).UTC())
	}
	for i, field := range strings.Fields(s.truth.Proc["/proc/loadavg"])[:3] {
		want, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return "", err
		}
		// Averages are updated every five seconds; a dozen tasks may have queued up while the machine ran out of memory.
		if diff := sys.Load[i] - want; diff < -0.5 || diff > 1.5 {
			d.add("load average %v; want near %q", sys.Load, s.truth.Proc["/proc/loadavg"])
		}
	}
	total := parseMeminfo(s.truth.Proc["/proc/meminfo"])["MemTotal"]
	if sys.Memory < total || sys.Memory > total*2 { // MemTotal lacks what the kernel and the capture kernel took at boot
		d.add("%d bytes of memory; MemTotal is %d", sys.Memory, total)
	}
	mask, err := strconv.ParseUint(strings.TrimSpace(s.truth.Proc["/proc/sys/kernel/tainted"]), 10, 64)
	if err != nil {
		return "", err
	}
	const byUser = 1 << 6 // U; what the workload sets
	if sys.Taint == nil || mask&byUser != 0 && !strings.Contains(*sys.Taint, "U") || mask == 0 && *sys.Taint != "" {
		d.add("taint %s; the guest said %#x", orDash(sys.Taint), mask)
	}
	if !strings.Contains(sys.Panic, s.way.panics) {
		d.add("panic %q; want %q in it", sys.Panic, s.way.panics)
	}
	if s.way.task != "" && (sys.Context.Comm != s.way.task || !sys.Context.Panic) {
		d.add("context is %q, panic %v; want %q", sys.Context.Comm, sys.Context.Panic, s.way.task)
	}
	return fmt.Sprintf("%s, up %.0f s, %q", sys.Release, sys.Uptime, sys.Context.Comm), d.err()
}
