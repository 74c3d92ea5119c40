package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// crashText is a command whose lines must be crash's, words apart by one space. A word in braces stands for what the dump has there (crashPlaces).
type crashText struct {
	command string
	same    func(line string) string // what of a line must be equal, "" for nothing; nil: all of it
	sorted  bool                     // kdx has another order
	more    bool                     // kdx says more: crash's lines must be among its lines, in their order
}

// crashTexts are held against crash 9.0.2. Where they differ otherwise, the function beside the command says why kdx is right, or what it has besides.
var crashTexts = []crashText{
	{command: "sys", more: true, same: func(line string) string {
		// Where symbols and types come from is another thing to kdx, and it adds what form the dump has. UPTIME: crash takes HZ to be
		// 1000 where it does not find it, as in 6.12.
		return without(line, "KERNEL:", "DUMPFILE:", "UPTIME:")
	}},
	{command: "sys -c", same: func(line string) string { // kdx has lines of sources only when a vmlinux is given
		f := strings.Fields(line)
		return strings.Join(f[:min(2, len(f))], " ")
	}},
	{command: "mach", more: true, same: func(line string) string {
		// HZ as in sys. Exception stacks: crash's table is of an older layout; it calls the last ones "(unknown)", of no size, or
		// VC, and cannot read them. kdx names MCE in their place, and has more: entry stacks, page tables.
		if strings.Contains(line, "[unavailable]") {
			return ""
		}
		return without(line, "HZ:", "(unknown)", "VC")
	}},
	{command: "mach -m"},
	{command: "dev", sorted: true}, // by numbers, where crash goes by the kernel's buckets
	{command: "dev -i"},
	{command: "dev -p", same: pciText},
	{command: "dev -d"},
	{command: "bpf"},
	{command: "bpf -P", same: bpfLine},
	{command: "bpf -M", same: bpfLine},
	{command: "swap"},
	{command: "sig -l"},
	{command: "sig 1"},
	{command: "sig -g 1"},
	{command: "foreach sig", same: func(line string) string {
		// crash looks at the flag that makes a thread look at its signals, which a stop of its group sets too; kdx says whether a
		// signal waits that is not blocked.
		return without(line, "SIGPENDING:")
	}},
	{command: "waitq log_wait"},
	{command: "files 1 2", same: fileLine},
	{command: "files -c 1", same: fileLine},
	{command: "files -R tmp", same: fileLine},
	{command: "foreach files", same: fileLine},
	{command: "fuser /dev/null", same: unquoted},
	{command: "fuser /tmp", same: unquoted},
	{command: "vm 1", same: pathLine},
	{command: "vm -m 1"},
	{command: "vm -v 1"},
	{command: "vm -p 1"},
	{command: "foreach vm", same: pathLine},
	{command: "net -s 1"},
	{command: "foreach net -s", same: socketLine},
	{command: "net -S 1", same: socketLine},
	{command: "net -n 1"},
	{command: "net -N 1"},
	{command: "files -d {dentry}"},
	{command: "files -p {inode}", same: func(line string) string { // kdx has the heading of pages where there are none, too
		return without(line, "PAGE")
	}},
	{command: "struct list_head"},
	{command: "struct task_struct"},
	{command: "struct -o task_struct {task}"},
	{command: "struct task_struct {task}"},
	{command: "struct -x task_struct {task}"},
	{command: "struct task_struct.mm,comm {task}"},
	{command: "struct -l task_struct.tasks task_struct.pid,comm {tasks}"},
	{command: "struct -o page"},
	{command: "struct -o file"},
	{command: "struct -o super_block"},
	{command: "struct net_device", same: func(line string) string { // BTF does not tell an array of no elements from one whose length is open
		return strings.ReplaceAll(line, "[0];", "[];")
	}},
	{command: "struct rq.nr_running,cfs runqueues:a"},
	{command: "struct -r list_head {modules}"},
	{command: "*list_head {modules}"},
	{command: "union sigval"},
	{command: "union -o sigval"},
	{command: "whatis -o mm_struct", same: nestedOffset},
	{command: "tree -t rb free_vmap_area_root -o vmap_area.rb_node -p"},
	{command: "tree -t rbtree -o vmap_area.rb_node -s vmap_area.va_start,va_end free_vmap_area_root"},
	{command: "tree -l -t rb -r rb_root.rb_node free_vmap_area_root"},
	{command: "tree -l -p -t rb -o vmap_area.rb_node free_vmap_area_root"},
	{command: "tree -t rb -N {rbnode} -o vmap_area.rb_node -p"},
	{command: "tree -t xarray {idr}"},
	{command: "tree -t xarray -p {idr}"},
	{command: "tree -t maple {maple}", same: decimalAddress},
	{command: "tree -t maple -p {maple}", same: decimalAddress},
	{command: "list -H modules"},
	{command: "list -H {modules} -o module.list -s module.name,state"},
	{command: "list -r -H {modules} -l module.list -S module.state"},
	{command: "list -h {task} -o task_struct.tasks -s task_struct.pid,comm"},
	{command: "list -x -O task_struct.tasks -h {task} -s task_struct.flags"},
	{command: "list -B -H modules"},
	{command: "p jiffies", same: unnumbered},
	{command: "p -x jiffies", same: unnumbered},
	{command: "p nr_cpu_ids", same: unnumbered},
	{command: "p init_uts_ns", same: unnumbered},
	{command: "p saved_command_line", same: unnumbered},
	{command: "p init_task.comm", same: unnumbered},
	{command: "p *init_task.cred", same: unnumbered},
	{command: "p runqueues:0", same: unnumbered},
	{command: "p modules", same: unnumbered},
	{command: "ptov 0x1000000"},
	{command: "btop 0x512a000"},
	{command: "ptob 0x512a"},
	{command: "vtop -k {init_task}", same: directoryLine},
	{command: "vtop -k {task}", same: directoryLine},
	{command: "vtop -k {module}", same: directoryLine},
}

// pciText is a line of dev -p: crash leaves out zeros of ids and names of buses below bridges, and takes bridges of plain PCI for endpoints.
func pciText(line string) string {
	line = strings.ReplaceAll(line, "ENDPOINT [BRIDGE]", "BRIDGE [BRIDGE]")
	if strings.HasPrefix(line, "PCI BUS") {
		line = strings.TrimSuffix(line, " BUSNAME")
	}
	f := strings.Fields(line)
	const address = 16
	if len(f) == 3 && len(f[0]) == address && len(f[1]) == address {
		f = f[:2]
	}
	for i := range f {
		if vendor, device, ok := strings.Cut(f[i], ":"); ok && !strings.Contains(device, ":") {
			f[i] = fmt.Sprintf("%4s:%4s", strings.TrimLeft(vendor, "0"), strings.TrimLeft(device, "0"))
		}
	}
	return strings.Join(f, " ")
}

// nestedOffset: crash has no offsets of members of structures within.
func nestedOffset(line string) string {
	_, rest, ok := strings.Cut(line, "] ")
	if ok && strings.HasPrefix(line, "[") {
		return rest
	}
	return line
}

// unnumbered is a line of p: what gdb evaluates for crash's other commands counts too.
func unnumbered(line string) string {
	before, rest, ok := strings.Cut(line, "$")
	number, value, found := strings.Cut(rest, " = ")
	if _, err := strconv.Atoi(number); !ok || !found || err != nil {
		return line
	}
	return before + value
}

// decimalAddress: crash prints addresses in a maple tree as decimal numbers.
func decimalAddress(line string) string {
	if u, err := strconv.ParseUint(line, 10, 64); err == nil && u>>63 != 0 {
		return strconv.FormatUint(u, 16)
	}
	return line
}

// directoryLine is a line of vtop: of the kernel's own addresses crash shows the topmost directory in another form than of programs', and the heading
// of a page only once a session.
func directoryLine(line string) string {
	if strings.HasPrefix(line, "PAGE PHYSICAL MAPPING") || strings.HasPrefix(line, "PGD:") || strings.Contains(line, "DIRECTORY:") {
		return ""
	}
	return line
}

// crashPlaces finds out what the words in braces stand for.
func (s *subject) crashPlaces(ctx context.Context) (*strings.Replacer, error) {
	var pairs []string
	for _, p := range []struct {
		word, command, row string
		column             int
	}{
		{"{task}", "ps 1", "1", 3},
		{"{init_task}", "sym init_task", "", 0},
		{"{modules}", "sym modules", "", 0},
		{"{module}", "list -H modules", "", 0},
		{"{dentry}", "files 1", "10", 2}, // the script that init runs
		{"{inode}", "files 1", "10", 3},
	} {
		text, err := s.say(ctx, s.dump, p.command)
		if err != nil {
			return nil, err
		}
		value := ""
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) > p.column && (p.row == "" || f[0] == p.row) {
				value = f[p.column]
				break
			}
		}
		if value == "" {
			return nil, fmt.Errorf("%s has no %s", p.command, p.word)
		}
		pairs = append(pairs, p.word, value)
	}
	task := pairs[1]
	for _, p := range []struct{ word, of string }{
		{"{tasks}", "&((struct task_struct *)0x" + task + ")->tasks"},
		{"{maple}", "&((struct task_struct *)0x" + task + ")->mm->mm_mt"},
		{"{idr}", "&init_pid_ns.idr.idr_rt"},
		{"{rbnode}", "free_vmap_area_root.rb_node"},
	} {
		text, err := s.say(ctx, s.dump, "p "+p.of)
		if err != nil {
			return nil, err
		}
		i := strings.LastIndex(text, "0x")
		if i < 0 || len(text) < i+18 {
			return nil, fmt.Errorf("p %s: %q is no address", p.of, text)
		}
		pairs = append(pairs, p.word, text[i+2:i+18])
	}
	return strings.NewReplacer(pairs...), nil
}

// without returns a line, but "" if its first word is one of these.
func without(line string, words ...string) string {
	f := strings.Fields(line)
	if len(f) > 0 && slices.Contains(words, f[0]) {
		return ""
	}
	return line
}

// bpfLine: crash reckons when a program was loaded from counters of the clock that do not stand still, and counts the machine code of a
// program of several functions for the first alone.
func bpfLine(line string) string {
	before, _, _ := strings.Cut(line, "LOAD_TIME:")
	return jited.ReplaceAllString(before, "")
}

var jited = regexp.MustCompile(`JITED: \d+ `)

// unquoted is a line of fuser: crash leaves out the second quote of a long name.
func unquoted(line string) string { return strings.ReplaceAll(line, `"`, "") }

// fileLine is a line of files: crash says nothing of a name that was removed, and has no name for what lies in no directory (sockets, pipes, memfd), or a slash (pidfd); the kind of a socket is to it
// the name that a listening socket had when it made the file, which may be MPTCP's though the connection is plain TCP.
func fileLine(line string) string {
	f := strings.Fields(strings.TrimSuffix(line, " (deleted)"))
	if len(f) < 5 {
		return line
	}
	if _, err := strconv.Atoi(f[0]); err != nil {
		return line
	}
	if f[4] == "SOCK" {
		return strings.Join(f[:5], " ")
	}
	if len(f) > 5 && (!strings.HasPrefix(f[5], "/") || strings.HasPrefix(f[5], "/memfd:") || f[5] == "/" && f[4] != "DIR") {
		f = f[:5]
	}
	return strings.Join(f, " ")
}

// pathLine is a line of vm: names of files that are in no directory begin with a slash, as in /proc/PID/maps, and what was
// removed says so; crash leaves both out.
func pathLine(line string) string {
	return strings.ReplaceAll(strings.TrimSuffix(line, " (deleted)"), " /", " ")
}

// socketLine is a line of net -s, without what kdx has behind crash's columns: names and ports of other families, state and queues.
func socketLine(line string) string {
	f := strings.Fields(line)
	if len(f) < 4 || f[0] == "PID:" {
		return line
	}
	n := 4
	if strings.HasPrefix(f[3], "INET") || f[0] == "FD" {
		n = 6
	}
	f[3] = strings.Replace(f[3], "40:", "VSOCK:", 1) // crash knows no name for it
	return strings.Join(f[:min(n, len(f))], " ")
}

// checkCommandsCrash holds the text of many commands against crash's.
func (l *lab) checkCommandsCrash(ctx context.Context, s *subject, r reference) (string, error) {
	if r.Crash == nil {
		return "", skip("crash cannot open it: " + tail(strings.TrimSpace(r.Failed["crash"]), 1))
	}
	places, err := s.crashPlaces(ctx)
	if err != nil {
		return "", err
	}
	var commands []string
	texts := slices.Concat(crashTexts, crashManual, crashManualRest)
	for _, c := range texts {
		commands = append(commands, places.Replace(c.command))
	}
	want, err := l.crashOn(ctx, s, commands)
	if err != nil {
		return "", err
	}
	got, err := s.sayOnce(ctx, commands)
	if err != nil {
		return "", err
	}
	var d differences
	lines := 0
	for i, c := range texts {
		w, g := c.lines(want[commands[i]]), c.lines(got[commands[i]])
		if len(w) == 0 {
			d.add("%s: crash printed nothing that can be compared", commands[i])
		}
		lines += len(w)
		c.compare(commands[i], w, g, &d)
	}
	return fmt.Sprintf("%d commands, %d lines of crash's", len(commands), lines), d.err()
}

// sayOnce runs commands in one session of kdx, as crashSays does with crash.
func (s *subject) sayOnce(ctx context.Context, commands []string) (map[string]string, error) {
	const mark = "@@ kdx-lab "
	var args []string
	for _, c := range commands {
		args = append(args, "-c", fmt.Sprintf("!echo '%s%s'", mark, c), "-c", c)
	}
	out, errs, err := s.run(ctx, s.dump, args...)
	if err != nil {
		return nil, fmt.Errorf("kdx open: %w: %s", err, tail(errs, 5))
	}
	said := map[string]string{}
	for _, part := range strings.Split(out, mark)[1:] {
		c, text, _ := strings.Cut(part, "\n")
		said[strings.TrimSpace(c)] = text
	}
	return said, nil
}

// oneLine is a line up to the first control character of a name in it, which crash sends to the terminal and kdx escapes.
func oneLine(line string) string {
	for _, cut := range []string{"\x1b", `\x1b`, `\x0a`} {
		line, _, _ = strings.Cut(line, cut)
	}
	return line
}

// lines are what of a text is compared. Control characters in names, which crash sends to the terminal and kdx escapes, end a line.
func (c crashText) lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(oneLine(line)), " ")
		if line == "" || line == "name" || line == `name"` { // what is behind the end of a line in the name of a task or a file
			continue
		}
		if c.same != nil {
			line = strings.TrimSpace(c.same(line))
		}
		if line != "" {
			out = append(out, line)
		}
	}
	if c.sorted {
		slices.Sort(out)
	}
	return out
}

func (c crashText) compare(command string, want, got []string, d *differences) {
	if c.more {
		for _, w := range want {
			i := slices.Index(got, w)
			if i < 0 {
				d.add("%s: crash says %q, kdx does not", command, w)
				continue
			}
			got = got[i+1:]
		}
		return
	}
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			d.add("%s, line %d: %q; crash says %q", command, i+1, g, w)
			return // what follows may only be moved
		}
	}
}
