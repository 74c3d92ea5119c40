package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"kdx/repl/commands"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kdx": main, "crash": main, "makedumpfile": main})
}

// raceScripts are those that run with the race detector: what reads, pages and interrupts at the prompt, and dumps that are read on all cores.
// The others open dumps by the hundred to see what is answered.
var raceScripts = []string{"editor", "session", "verify"}

// TestScripts runs testdata/script. Scripts that need a dump find the small ones under $DUMPS; KDX_TEST_DUMPS names
// another directory of them.
func TestScripts(t *testing.T) {
	dumps := os.Getenv("KDX_TEST_DUMPS")
	if dumps == "" {
		var err error
		if dumps, err = filepath.Abs("../../testdata/dumps"); err != nil {
			t.Fatal(err)
		}
	}
	p := testscript.Params{
		Dir: "../../testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("DUMPS", dumps)
			e.Setenv("TZ", "UTC")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			version, ok := strings.CutPrefix(cond, "dump:")
			if !ok {
				return false, nil
			}
			_, err := os.Stat(filepath.Join(dumps, version, "vmcore"))
			return err == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"status": checkStatus},
	}
	if raceDetector {
		p.Dir = ""
		for _, name := range raceScripts {
			p.Files = append(p.Files, "../../testdata/script/"+name+".txtar")
		}
	}
	testscript.Run(t, p)
}

// checkStatus is "status CODE PROGRAM ARG…": the program must exit with the code. Its output is left for stdout and
// stderr.
func checkStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE PROGRAM ARG…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s; want %s\nstdout: %s\nstderr: %s", got, args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// TestDocs: go generate ./cmd/kdx makes them anew.
func TestDocs(t *testing.T) {
	for name, want := range generated() {
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if string(got) != want {
			t.Errorf("docs/%s is stale: run go generate ./cmd/kdx", name)
		}
	}
}

func TestSniff(t *testing.T) {
	elf := func(typ byte) []byte {
		return append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), typ, 0, 0, 0)
	}
	big := []byte("\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02")
	bz := make([]byte, 0x206)
	copy(bz[0x202:], "HdrS")
	for _, tt := range []struct {
		name string
		head []byte
		want fileKind
		err  string
	}{
		{"core", elf(4), dumpFile, ""},
		{"exec", elf(2), vmlinuxFile, ""},
		{"dyn", elf(3), vmlinuxFile, ""},
		{"big exec", big, vmlinuxFile, ""},
		{"object", elf(1), 0, "object file"},
		{"kdump", []byte("KDUMP   "), dumpFile, ""},
		{"short", []byte("\x7fELF"), dumpFile, ""},
		{"empty", nil, dumpFile, ""},
		{"bzImage", bz, vmlinuxFile, ""},
	} {
		got, err := kindOf("f", tt.head)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("kindOf(%s) = %v, %v; want %v, %q", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestSplitFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{"vmcore": "KDUMP   ", "part2": "KDUMP   ", "panic": "text",
		"vmlinux": "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ in, files, words string }{
		{"vmcore", "vmcore", ""},
		{"vmcore -S", "vmcore", "-S"},
		{"-S vmcore 1", "vmcore", "-S 1"},
		{"-c 1 vmlinux vmcore x", "vmlinux vmcore", "-c 1 x"},
		{"vmcore part2 -a", "vmcore part2", "-a"},
		{"vmcore sym panic", "vmcore", "sym panic"}, // a file of that name is not meant
		{"nothing", "", "nothing"},
		{"vmcore -- -x", "vmcore", "-- -x"},
	} {
		files, words := splitFiles(strings.Fields(tt.in))
		if strings.Join(files, " ") != tt.files || strings.Join(words, " ") != tt.words {
			t.Errorf("splitFiles(%q) = %q, %q; want %q, %q", tt.in, files, words, tt.files, tt.words)
		}
	}
}

func TestCrashLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want func(c *crashLine) bool
		err  string
	}{
		{"-s vmlinux vmcore", func(c *crashLine) bool { return c.silent && c.noScroll && len(c.files) == 2 }, ""},
		{"vmcore -i f --no_crashrc", func(c *crashLine) bool { return len(c.inputs) == 1 && c.inputs[0].File == "f" && c.noRC }, ""},
		{"--osrelease vmcore", func(c *crashLine) bool { return c.osrelease == "vmcore" }, ""},
		{"--osrelease=vmcore", func(c *crashLine) bool { return c.osrelease == "vmcore" }, ""},
		{"--minimal --hash 10 --smp vmcore", func(c *crashLine) bool { return len(c.files) == 1 }, ""},
		{"--zero_excluded --hex vmcore", func(c *crashLine) bool { return c.o.zeroExcluded && c.hex }, ""},
		{"-h bt ps", func(c *crashLine) bool { return c.help && len(c.helpWords) == 2 }, ""},
		{"-d8 vmcore", func(c *crashLine) bool { return c.o.debug && len(c.files) == 1 }, ""},
		{"-sfi f vmcore", func(c *crashLine) bool { return c.silent && c.o.force && len(c.inputs) == 1 && len(c.files) == 1 }, ""},
		{"-sZ vmcore", nil, "unknown option -Z"},
		{"--active", nil, "live systems"},
		{"--machdep vm=5level", nil, "machine parameters"},
		{"-i", nil, "-i wants FILE"},
		{"--nonsense", nil, "unknown option"},
	} {
		var c crashLine
		err := c.parse(strings.Fields(tt.in))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("parse(%q): %v; want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || !tt.want(&c) {
			t.Errorf("parse(%q) = %+v, %v", tt.in, c, err)
		}
	}
	seen := map[string]bool{}
	once := func(name string) {
		if seen[name] {
			t.Errorf("%s stands in the tables twice", name)
		}
		seen[name] = true
	}
	for _, o := range crashOptions {
		for _, n := range o.names {
			once(n)
		}
	}
	for _, w := range crashWithout {
		once(w.name)
	}
	for n := range crashRefused {
		once(n)
	}
}

// TestOneShots: no name of the table may hide a subcommand of kdx's own.
func TestOneShots(t *testing.T) {
	root := newRoot(stdio{})
	names := map[string]int{}
	for _, c := range root.Commands() {
		names[c.Name()]++
		for _, a := range c.Aliases {
			names[a]++
		}
	}
	for n, k := range names {
		if k > 1 {
			t.Errorf("kdx %s means %d things", n, k)
		}
	}
	for _, c := range commands.All() {
		if !c.Prompt && isWord(c.Name) && names[c.Name] != 1 {
			t.Errorf("kdx %s does not exist", c.Name)
		}
	}
}
