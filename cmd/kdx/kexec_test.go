package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"kdx/repl"
)

// TestKexecLine: what is done follows from all options in their order, as kexec-tools has it.
func TestKexecLine(t *testing.T) {
	show := func(k *kexecLine) string {
		var s []string
		for _, f := range []struct {
			on   bool
			name string
		}{{k.load, "load"}, {k.crash, "crash"}, {k.unload, "unload"}, {k.exec, "exec"}, {k.shutdown, "shutdown"}, {k.sync, "sync"}, {k.linksDown, "links"}, {k.status, "status"}, {k.reuse, "reuse"}} {
			if f.on {
				s = append(s, f.name)
			}
		}
		return strings.Join(s, " ") + fmt.Sprintf(" %q %q %q", k.initrd, k.cmdline, k.files)
	}
	for line, want := range map[string]string{
		"k": `load exec shutdown sync links "" "" ["k"]`,
		"-l k --initrd=i --append=a --reuse-cmdline": `load sync links reuse "i" "a" ["k"]`,
		"-l --initrd i --command-line a k":           `load sync links "i" "a" ["k"]`,
		"--load-panic k --ramdisk=i -s -d":           `load crash links "i" "" ["k"]`,
		"-sp k":                                      `load crash links "" "" ["k"]`,
		"-u":                                         `unload links "" "" []`,
		"-p -u":                                      `crash unload links "" "" []`,
		"-u -p":                                      `crash unload links "" "" []`,
		"-e":                                         `exec sync links "" "" []`,
		"-e -x -y":                                   `exec "" "" []`,
		"-f k -x":                                    `load exec sync "" "" ["k"]`,
		"-S":                                         `load exec shutdown sync links status "" "" []`,
		"-a -i -t bzImage64 -l k":                    `load sync links "" "" ["k"]`,
		"-l -- -k":                                   `load sync links "" "" ["-k"]`,
	} {
		k, err := parseKexec(strings.Fields(line))
		if err != nil || show(k) != want {
			t.Errorf("%s: %v\n%s\n%s", line, err, show(k), want)
		}
	}
	for line, want := range map[string]string{
		"":                        "no kernel specified",
		"-l":                      "no kernel specified",
		"-l a b":                  "one kernel, not 2",
		"-e k":                    "neither -e nor -u",
		"--bogus":                 "unknown flag: --bogus",
		"-l k --initrd":           "needs an argument",
		"-c -l k":                 "kexec_file_load only",
		"-l k --mem-min=1 -t elf": "--mem-min can't be: it is for the old system call, kexec_load; --type=elf can't be",
		"--reuseinitrd -l k":      "--initrd",
	} {
		if _, err := parseKexec(strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestKexecRun(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status repl.Status
		want   string
	}{
		{[]string{"--help"}, 0, "--load-panic"},
		{[]string{"-v"}, 0, "kexec-tools " + kexecToolsVersion},
		{[]string{"--bogus"}, 1, "--help lists"},
	} {
		var out bytes.Buffer
		if st := run(append([]string{"/sbin/kexec"}, c.args...), stdio{in: strings.NewReader(""), out: &out, err: &out}); st != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: %d\n%s", c.args, st, out.String())
		}
	}
}

// TestKexecOptions: each option that is refused or does less says why.
func TestKexecOptions(t *testing.T) {
	for i := range kexecOptions {
		o := &kexecOptions[i]
		if o.help == "" || o.why == "" && o.fate != asThere {
			t.Errorf("%s says nothing", o.names())
		}
	}
}
