package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// crashSearches are lines whose hits are crash's, in the context of init, but for what sameHits explains.
var crashSearches = []string{
	"search init_task", "search -K init_task", "search -V init_task", "search -V -m ffff ffffffff81000000 init_task", "search -t init_task", "search -T schedule",
	"search -u 5e2000", "search -u -w 5e2000", "search -c -u BusyBox", "search -p -w 6b6e696c", "search -V -c Linux", "search -V -h 1234", "search -V -x 2 init_task",
	"search -s init_task -l 1000 init_task", "search -s init_task -l 4096 init_task", "search -s init_task -l 0x1000 init_task", "search -s init_task -e init_net init_task",
	"search -s modules -l 65536 (init_task) modules",
}

// checkSearchCrash holds the hits of search against crash's.
func (l *lab) checkSearchCrash(ctx context.Context, s *subject) (string, error) {
	want, err := l.crashInContext(ctx, s, crashSearches)
	if err != nil {
		return "", err
	}
	var image [2]uint64
	for i, name := range []string{"_text", "_end"} {
		if image[i], err = s.symbolAddress(ctx, name); err != nil {
			return "", err
		}
	}
	var d differences
	hits := 0
	for _, c := range crashSearches {
		out, err := s.sayInContext(ctx, c)
		if err != nil {
			return "", err
		}
		got, crash := sameHits(c, out, image), sameHits(c, want[c], image)
		hits += len(crash)
		for i := range max(len(got), len(crash)) {
			var g, w string
			if i < len(got) {
				g = got[i]
			}
			if i < len(crash) {
				w = crash[i]
			}
			if g != w {
				d.add("%s: %q; crash says %q (of %d and %d lines)", c, g, w, len(got), len(crash))
				break
			}
		}
	}
	if hits < len(crashSearches) {
		d.add("only %d hits of %d lines", hits, len(crashSearches))
	}
	return fmt.Sprintf("%d lines of %d commands", hits, len(crashSearches)), d.err()
}

// sameHits are the lines of an answer in order of addresses, which crash's are not (it takes the map of pages behind modules), without what
// crash has otherwise. image is where the kernel's image begins and ends.
func sameHits(command, out string, image [2]uint64) []string {
	const mapStart, huge = 0xffffffff80000000, 2 << 20 // of x86-64's map of the kernel's image
	var lines []string
	for line := range strings.Lines(out) {
		line = oneLine(strings.TrimRight(line, " \n"))
		at, rest, ok := strings.Cut(line, ":")
		addr, err := strconv.ParseUint(at, 16, 64)
		switch {
		case line == "", line == `name"`: // the end of a name that crash breaks
			continue
		case ok && err == nil && addr >= image[1] && addr < image[1]+huge:
			continue // crash ends at _end, and leaves out the rest of the large page that maps it
		case ok && err == nil && addr >= mapStart && addr < image[0]:
			// Crash takes for mapped what lies before the kernel's image, by phys_base alone: no page table maps it. The same memory is in
			// the direct map, and found there.
			continue
		case strings.Contains(command, "-c") && len(rest) > 8:
			line = line[:len(at)+8] // crash ends the text where the page ends
		}
		lines = append(lines, line)
	}
	if !strings.Contains(command, "-x") && !strings.Contains(strings.ToLower(command), "-t") {
		slices.Sort(lines)
		lines = slices.Compact(lines) // crash goes through the image twice, as direct and as other memory, where a range is given
	}
	return lines
}

// crashInContext is what crash says to commands, whose context is init.
func (l *lab) crashInContext(ctx context.Context, s *subject, commands []string) (map[string]string, error) {
	r, err := l.reference(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	if r.Crash == nil {
		return nil, skip("crash can't read it: " + r.Failed["crash"])
	}
	return l.crashOn(ctx, s, append([]string{"set 1"}, commands...))
}

// crashOn is what crash says of a dump to commands of one session.
func (l *lab) crashOn(ctx context.Context, s *subject, commands []string) (map[string]string, error) {
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return nil, err
	}
	p, err := l.peers(ctx)
	if err != nil {
		return nil, err
	}
	return p.crashSays(ctx, vmlinux, s.dump, commands)
}

// sayInContext is what kdx says to a command, whose context is init.
func (s *subject) sayInContext(ctx context.Context, command string) (string, error) {
	out, errs, err := s.run(ctx, s.dump, "-s", "-c", "set 1", "-c", command)
	if err != nil {
		return "", fmt.Errorf("kdx open -c %q: %w: %s", command, err, tail(errs, 3))
	}
	_, out, _ = strings.Cut(out, " STATE: ")
	_, out, _ = strings.Cut(out, "\n")
	return out, nil
}

// symbolAddress is where kdx says that a symbol is.
func (s *subject) symbolAddress(ctx context.Context, name string) (uint64, error) {
	out, err := s.say(ctx, s.dump, "sym "+name)
	if err != nil {
		return 0, err
	}
	at, _, _ := strings.Cut(out, " ")
	return strconv.ParseUint(at, 16, 64)
}

// checkSearch looks for what the guest said: its name, where the kernel keeps it, and the arguments of a process in that process's memory.
func checkSearch(ctx context.Context, s *subject) (string, error) {
	type hit struct {
		Addr string `json:"address"`
		Text string `json:"text"`
	}
	var d differences
	if len(s.truth.Uname) < 4 {
		return "", fmt.Errorf("the guest did not say its name")
	}
	// struct new_utsname: release and version are in init_uts_ns, and nowhere else side by side.
	var where struct {
		Addr string `json:"address"`
	}
	var hits []hit
	version := s.truth.Uname[3]
	if err := s.ask(ctx, []string{"p init_uts_ns.name.version", "search -c '" + version + "'"}, &where, &hits); err != nil {
		return "", err
	}
	if !slices.ContainsFunc(hits, func(h hit) bool {
		return h.Addr == where.Addr && strings.HasPrefix(h.Text, version[:min(len(version), 40)])
	}) {
		d.add("%q is not found at %s, where init_uts_ns has it, but at %d places", version, where.Addr, len(hits))
	}
	found, processes := 0, 0
	for _, t := range s.truth.Tasks {
		args := slices.MaxFunc(strings.FieldsFunc(t.Leader["cmdline"]+"\x00-", func(r rune) bool { return r == 0 }), func(a, b string) int { return len(a) - len(b) })
		if !t.Quiet || len(args) < 6 || strings.ContainsAny(args, "'\"|>!\\\n") || processes == 4 {
			continue
		}
		var set any
		hits = nil
		if err := s.ask(ctx, []string{fmt.Sprintf("set %d", t.TID), "search -u -c '" + args + "'"}, &set, &hits); err != nil {
			return "", err
		}
		processes++
		found += len(hits)
		if len(hits) == 0 {
			d.add("PID %d: its argument %q is not in its memory", t.TID, args)
		}
	}
	if processes == 0 {
		d.add("no process was looked at")
	}
	return fmt.Sprintf("the kernel's version at %s; arguments of %d processes at %d places", where.Addr, processes, found), d.err()
}
