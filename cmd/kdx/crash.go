package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"kdx/analyze/view"
	"kdx/repl"
)

// crashOption is an option of crash's command line, as kdx takes it.
type crashOption struct {
	names []string
	arg   string // placeholder of its argument; "" if it takes none
	help  string
	apply func(c *crashLine, value string) error
}

// crashLine is crash's command line taken apart.
type crashLine struct {
	o                       options
	silent, noRC, noScroll  bool
	hex, version, help      bool
	osrelease, log, buildID string
	inputs                  []repl.Source
	files, helpWords        []string
}

func flag(f func(*crashLine)) func(*crashLine, string) error {
	return func(c *crashLine, _ string) error { f(c); return nil }
}

// crashOptions that do in kdx what they do in crash.
var crashOptions = []crashOption{
	{[]string{"-s"}, "", "no banner and no paging", flag(func(c *crashLine) { c.silent, c.noScroll = true, true })},
	{[]string{"-i"}, "FILE", "run the commands in FILE first", func(c *crashLine, v string) error { c.inputs = append(c.inputs, repl.Source{File: v}); return nil }},
	{[]string{"-v", "--version"}, "", "the version", flag(func(c *crashLine) { c.version = true })},
	{[]string{"-h", "--help"}, "", "this page; with words behind it, the help of these commands", flag(func(c *crashLine) { c.help = true })},
	{[]string{"--osrelease"}, "DUMP", "print the release of the dump's kernel", func(c *crashLine, v string) error { c.osrelease = v; return nil }},
	{[]string{"--log"}, "DUMP", "print the log of the dump's kernel", func(c *crashLine, v string) error { c.log = v; return nil }},
	{[]string{"--build-id"}, "DUMP", "print the build-id of the dump's kernel", func(c *crashLine, v string) error { c.buildID = v; return nil }},
	{[]string{"-d"}, "LEVEL", "say on stderr what is tried; 0 does not", func(c *crashLine, v string) error { c.o.debug = v != "0"; return nil }},
	{[]string{"-f"}, "", "take a vmlinux although it is of another build", flag(func(c *crashLine) { c.o.force = true })},
	{[]string{"--zero_excluded"}, "", "read pages that were left out of the dump as zeros", flag(func(c *crashLine) { c.o.zeroExcluded = true })},
	{[]string{"--no_kallsyms"}, "", "leave out the symbols of the dump itself", flag(func(c *crashLine) { c.o.noKallsyms = true })},
	{[]string{"--kaslr"}, "OFFSET", "the kernel was moved by OFFSET bytes; auto finds it out, off is 0", func(c *crashLine, v string) error {
		switch v {
		case "auto":
			return nil
		case "off":
			v = "0"
		}
		return c.o.kaslr.Set(v)
	}},
	{[]string{"--machdep", "-m"}, "PARAMETERS", "phys_base=N, the kernel's phys_base; the rest is found in the dump", func(c *crashLine, v string) error {
		for p := range strings.SplitSeq(v, ",") {
			n, ok := strings.CutPrefix(p, "phys_base=")
			if !ok {
				return fmt.Errorf("--machdep: of crash's machine parameters only phys_base= is taken, not %q; the others are found in the dump", p)
			}
			if err := c.o.phys.Set(n); err != nil {
				return err
			}
		}
		return nil
	}},
	{[]string{"--no_scroll"}, "", "no paging", flag(func(c *crashLine) { c.noScroll = true })},
	{[]string{"--no_crashrc"}, "", "do not run ~/.crashrc and ./.crashrc", flag(func(c *crashLine) { c.noRC = true })},
	{[]string{"--hex"}, "", "integers in hexadecimal", flag(func(c *crashLine) { c.hex = true })},
	{[]string{"--dec"}, "", "integers in decimal, as without it", flag(func(c *crashLine) { c.hex = false })},
	{[]string{"--less"}, "", "page with less", flag(func(*crashLine) { os.Setenv("KDX_PAGER", repl.DefaultPager) })},
	{[]string{"--more"}, "", "page with more", flag(func(*crashLine) { os.Setenv("KDX_PAGER", "more") })},
	{[]string{"--CRASHPAGER"}, "", "page with $CRASHPAGER", func(_ *crashLine, _ string) error {
		p := os.Getenv("CRASHPAGER")
		if p == "" {
			return errors.New("--CRASHPAGER: the variable CRASHPAGER is not set")
		}
		return os.Setenv("KDX_PAGER", p)
	}},
}

// without is an option of crash that changes none of kdx's answers: taken, and left alone.
type without struct{ name, arg, why string }

var crashWithout = []without{
	{"--minimal", "", "kdx reads what a command needs when it needs it"},
	{"--no_data_debug", "", "kdx has no debugging data to check"},
	{"--no_kmem_cache", "", "slab caches are read when a command asks"},
	{"--kmem_cache_delay", "", "slab caches are read when a command asks"},
	{"--no_ikconfig", "", "the kernel's configuration is never needed"},
	{"--no_strip", "", "kdx does not cut the names of cloned symbols"},
	{"--no_panic", "", "the task that crashed is looked up, not searched for"},
	{"--readnow", "", "types are read when a command asks"},
	{"--smp", "", "the dump says how many CPUs there are"},
	{"--hash", "N", "walks need no hash table"},
	{"--max-malloc-bufs", "N", "there are no such buffers"},
	{"-L", "", "locking memory changes no answer"},
	{"-x", "", "there are no extensions to load"},
}

// crashRefused are options whose effect kdx does not have.
var crashRefused = map[string]string{
	"-S":               "a System.map is not read; the dump's own symbols serve",
	"-k":               "Kerntypes files are not read; the dump's own types serve",
	"-g":               "looking into a namelist is not done; kdx needs none",
	"-t":               "use kdx info DUMP, which shows the time of the crash",
	"-c":               "choosing a console is not done; redirect kdx's output",
	"-p":               "the page size is the dump's",
	"-o":               "use kdx's other subcommands to convert dumps",
	"-e":               "set edit vi chooses the editor's keys, also in ~/.crashrc",
	"--active":         "live systems are looked at with kdx open --live",
	"--memory_module":  "live systems are looked at with kdx open --live, through /proc/kcore",
	"--memory_device":  "live systems are looked at with kdx open --live, through /proc/kcore",
	"--buildinfo":      "kdx version says what there is to say",
	"--no_modules":     "modules can't be left out; they are read when a command asks",
	"--no_elf_notes":   "the registers in the dump's notes can't be left out",
	"--cpus":           "the number of CPUs is the dump's",
	"--hyper":          "Xen's hypervisor is not looked at",
	"--p2m_mfn":        "Xen dumps are not read",
	"--xen_phys_start": "Xen dumps are not read",
	"--mod":            "modules' files are not read; the dump's own symbols serve",
	"--src":            "sources are not shown",
	"--reloc":          "the relocation is the dump's",
	"--kvmhost":        "migration streams are not read; use dump-guest-memory",
	"--kvmio":          "migration streams are not read; use dump-guest-memory",
	"--offline":        "offline CPUs are always shown",
}

// parse takes the command line apart. Options and files come in any order.
func (c *crashLine) parse(args []string) error {
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		if len(a) < 2 || a[0] != '-' {
			c.files = append(c.files, a)
			continue
		}
		name, value, hasValue := strings.Cut(a, "=")
		if a[1] != '-' && len(a) > 2 { // letters in one word: -sf, and -d8 with the value behind its letter
			name, value, hasValue = a[:2], "", false
			if opt := findCrashOption(name); opt != nil && opt.arg != "" {
				value, hasValue = a[2:], true
			} else {
				args = append([]string{"-" + a[2:]}, args...)
			}
		}
		if opt := findCrashOption(name); opt != nil {
			if opt.arg != "" && !hasValue {
				if len(args) == 0 {
					return fmt.Errorf("%s wants %s", name, opt.arg)
				}
				value, args = args[0], args[1:]
			}
			if err := opt.apply(c, value); err != nil {
				return err
			}
			if c.help {
				c.helpWords = args
				return nil
			}
			continue
		}
		if i := slices.IndexFunc(crashWithout, func(w without) bool { return w.name == name }); i >= 0 {
			if crashWithout[i].arg != "" && !hasValue && len(args) > 0 {
				args = args[1:]
			}
			continue
		}
		if why, ok := crashRefused[name]; ok {
			return fmt.Errorf("crash's option %s is not taken: %s", name, why)
		}
		return fmt.Errorf("unknown option %s (-h lists those that are taken)", a)
	}
	return nil
}

func findCrashOption(name string) *crashOption {
	for i := range crashOptions {
		if slices.Contains(crashOptions[i].names, name) {
			return &crashOptions[i]
		}
	}
	return nil
}

// runCrash is kdx called as crash.
func runCrash(args []string, std stdio) repl.Status {
	var c crashLine
	if err := c.parse(args); err != nil {
		return say(std, usagef("%v", err))
	}
	ctx := context.Background()
	switch {
	case c.version:
		fmt.Fprintf(std.out, "kdx %s, called as crash\n", version())
		return repl.OK
	case c.help && len(c.helpWords) > 0:
		return c.o.session(nil, std).Call(ctx, "help", c.helpWords)
	case c.help:
		fmt.Fprint(std.out, crashHelp())
		return repl.OK
	case c.osrelease != "":
		return say(std, c.fromVMCoreInfo(ctx, c.osrelease, "OSRELEASE", std))
	case c.buildID != "":
		return say(std, c.fromVMCoreInfo(ctx, c.buildID, "BUILD-ID", std))
	case c.log != "":
		cmd := c.o.session(nil, std).State().Command("log")
		return say(std, runOneShot(ctx, cmd, []string{c.log}, std, nil))
	}
	return say(std, c.session(ctx, std))
}

// say prints an error and returns its status.
func say(std stdio, err error) repl.Status {
	if err == nil {
		return repl.OK
	}
	st := repl.Failed
	var se *statusError
	if errors.As(err, &se) {
		st, err = se.status, se.err
	}
	if err != nil {
		fmt.Fprintf(std.err, "kdx: %v\n", err)
	}
	return st
}

func (c *crashLine) session(ctx context.Context, std stdio) error {
	n, err := sortFiles(c.files)
	if errors.Is(err, errNoDump) {
		err = fmt.Errorf("%w. crash would look at the running kernel; kdx does that only when asked to: kdx open --live", err)
	}
	if err != nil {
		return sortStatus(err)
	}
	x, err := c.o.open(ctx, n, std)
	if err != nil {
		return openStatus(err)
	}
	defer x.Close()
	s := c.o.session(x, std)
	s.State().Scroll = !c.noScroll
	s.State().Hex = c.hex
	if !c.silent {
		s.Banner(ctx)
	}
	if !c.noRC {
		s.RCFiles(ctx, ".crashrc")
	}
	st, done := s.Script(ctx, c.inputs)
	if !done {
		st = st.Worse(s.Run(ctx))
	}
	return exitWith(st)
}

// fromVMCoreInfo prints what the dump's kernel says of itself.
func (c *crashLine) fromVMCoreInfo(ctx context.Context, dump, key string, std stdio) error {
	x, err := c.o.openImage(ctx, []string{dump}, std)
	if err != nil {
		return openStatus(err)
	}
	defer x.Close()
	value, ok := "", false
	if vci := x.img.Info().VMCoreInfo; vci != nil {
		value, ok = vci.Get(key)
	}
	if !ok && key == "OSRELEASE" {
		value = x.img.Info().UTS.Release
	}
	if value == "" {
		return &statusError{repl.Failed, fmt.Errorf("%s does not say its kernel's %s (kdx info looks further)", dump, key)}
	}
	return writeStatus(view.Lines{view.Printable(value)}.Text(std.out, view.Options{}))
}

func crashHelp() string {
	var b strings.Builder
	b.WriteString("kdx, called as crash, takes crash's command line:\n\n    crash [OPTION]… [VMLINUX] DUMP…\n\nNo vmlinux is needed. Options and files come in any order.\n\n")
	for _, o := range crashOptions {
		fmt.Fprintf(&b, "  %-22s %s\n", strings.Join(o.names, ", ")+" "+o.arg, o.help)
	}
	b.WriteString("\nTaken, but without effect on any answer:\n\n")
	for _, w := range crashWithout {
		fmt.Fprintf(&b, "  %-22s %s\n", w.name+" "+w.arg, w.why)
	}
	b.WriteString("\nhelp lists the commands of the prompt; kdx --help tells what else kdx can do.\n")
	return b.String()
}
