package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"kdx/analyze/reduce"
)

func TestMakedumpfileLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want func(m *makedumpfileLine) bool
	}{
		{"-l -d 31 in out", func(m *makedumpfileLine) bool { return m.codec == "lzo" && slices.Equal(m.levels, []int{31}) }},
		{"in -d31 out -c", func(m *makedumpfileLine) bool {
			return m.codec == "zlib" && slices.Equal(m.levels, []int{31}) && len(m.files) == 2
		}},
		{"-zd 31,15,0 in out", func(m *makedumpfileLine) bool { return m.codec == "zstd" && slices.Equal(m.levels, []int{31, 15, 0}) }},
		{"-c -c in out", func(m *makedumpfileLine) bool { return m.codec == "zlib" }},
		{"in out", func(m *makedumpfileLine) bool { return m.codec == "raw" && m.levels == nil && m.messages == msgDefault }},
		{"-F -E in", func(m *makedumpfileLine) bool { return m.flatten && m.elf }},
		{"-R out", func(m *makedumpfileLine) bool { return m.rearrange }},
		{"--message-level 31 --show in out", func(m *makedumpfileLine) bool { return m.messages == msgAll }},
		{"--message-level=1 -D in out", func(m *makedumpfileLine) bool { return m.messages == msgProgress|msgDebug }},
		{"--num-th=3 -b 4 --cyclic-buffer 100 --non-mmap in out", func(m *makedumpfileLine) bool { return m.threads == 3 && len(m.files) == 2 }},
		{"-L 2G in out", func(m *makedumpfileLine) bool { return m.limit == 2<<30 }},
		{"--split --splitblock-size 64 in a b", func(m *makedumpfileLine) bool { return m.split }},
		{"--reassemble a b out", func(m *makedumpfileLine) bool { return m.reassemble }},
		{"--dump-dmesg --partial-dmesg in out", func(m *makedumpfileLine) bool { return m.dmesg && m.partial }},
		{"--mem-usage /proc/kcore", func(m *makedumpfileLine) bool { return m.memUsage }},
		{"--vtop ffff888000001000 in out", func(m *makedumpfileLine) bool { return *m.vtop == 0xffff888000001000 }},
		{"-g info -x vmlinux", func(m *makedumpfileLine) bool { return m.generate == "info" && m.vmlinux == "vmlinux" }},
		{"--diskset=a --diskset=b -d 31 out", func(m *makedumpfileLine) bool { return slices.Equal(m.disks, []string{"a", "b"}) }},
		{"-e --work-dir /tmp -d 31 in out", func(m *makedumpfileLine) bool { return m.vmemmap }},
		{"--check-params -l in out", func(m *makedumpfileLine) bool { return m.check }},
		{"-- -in -out", func(m *makedumpfileLine) bool { return slices.Equal(m.files, []string{"-in", "-out"}) }},
	} {
		var m makedumpfileLine
		err := m.parse(strings.Fields(tt.in))
		if err == nil {
			err = m.conflict()
		}
		if err != nil || !tt.want(&m) {
			t.Errorf("%q: %+v, %v", tt.in, m, err)
		}
	}
}

func TestMakedumpfileConflicts(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "wanted: a dump",
		"in":                                  "wanted: a dump",
		"a b c":                               "wanted: a dump",
		"-c -l in out":                        "only one of",
		"-c -E in out":                        "-E can't be compressed",
		"-x a -i b in out":                    "-x and -i",
		"-F --split in a b":                   "can be split",
		"-E --split in a b":                   "can be split",
		"--split in a":                        "--split wants",
		"--num-threads 2 --split in a b":      "cannot used with --split",
		"--num-threads 2 -E in out":           "cannot used with ELF",
		"--num-threads x in out":              "is no number",
		"-e in out":                           "-e requires --work-dir",
		"--partial-dmesg in out":              "for --dump-dmesg",
		"--dry-run -g a -x b":                 "--dry-run cannot be used with -g.",
		"--dry-run --reassemble a b c":        "--dry-run cannot be used with --reassemble.",
		"--dry-run --dump-dmesg a b":          "--dry-run cannot be used with --dump-dmesg.",
		"-g a":                                "-g wants -x",
		"-R":                                  "-R wants one file",
		"-R a b":                              "-R wants one file",
		"-R -c a":                             "-R wants one file",
		"--reassemble a b":                    "--reassemble wants",
		"--mem-usage":                         "--mem-usage wants",
		"-F in out":                           "-F wants a dump",
		"-d 32 in out":                        "Dump_level(32) is invalid.",
		"-d 31,x in out":                      "Dump_level(x) is invalid.",
		"-L 0 in out":                         "Limit size(0) is invalid.",
		"-L 9999999999T in out":               "is invalid.",
		"--message-level 32 in out":           "Message_level(32) is invalid.",
		"--bogus":                             "makedumpfile: unrecognized option '--bogus'",
		"--xen":                               "makedumpfile: option '--xen' is ambiguous",
		"--split=1 a b c":                     "makedumpfile: option '--split' doesn't allow an argument",
		"--vtop":                              "makedumpfile: option '--vtop' requires an argument",
		"-d":                                  "makedumpfile: option requires an argument -- 'd'",
		"-q":                                  "makedumpfile: invalid option -- 'q'",
		"--eppic x in out":                    "no eppic",
		"--extension x in out":                "no extensions",
		"--vtop zz in out":                    "is no address",
		"--xen-syms a --xen-vmcoreinfo b i o": "can't be given both",
	} {
		var m makedumpfileLine
		err := m.parse(strings.Fields(in))
		if err == nil {
			err = m.conflict()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", in, err, want)
		}
	}
}

// TestMakedumpfileTable: every option has one row, which says enough for docs/makedumpfile.md.
func TestMakedumpfileTable(t *testing.T) {
	seen := map[string]bool{}
	for i := range makedumpfileOptions {
		o := &makedumpfileOptions[i]
		for _, n := range []string{o.long, string(o.short)} {
			if n == "" || n == "\x00" {
				continue
			}
			if seen[n] {
				t.Errorf("%s stands in the table twice", n)
			}
			seen[n] = true
		}
		if o.help == "" || o.apply == nil || o.fate == "" {
			t.Errorf("%s: the row is not whole", o.names())
		}
		if o.fate != asThere && o.why == "" && o.long != "help" {
			t.Errorf("%s is %q, but not why", o.names(), o.fate)
		}
	}
	const all = "b c l p z D d E e F f g h i L R v X x " +
		"split reassemble num-threads splitblock-size cyclic-buffer work-dir non-mmap xen-syms xen-vmcoreinfo xen_phys_start message-level vtop dump-dmesg partial-dmesg " +
		"mem-usage config eppic diskset check-params dry-run show-stats extension help"
	for _, n := range strings.Fields(all) {
		if !seen[n] {
			t.Errorf("makedumpfile's option %s is not in the table", n)
		}
		delete(seen, n)
	}
	for n := range seen {
		t.Errorf("%s is no option of makedumpfile", n)
	}
}

func TestMakedumpfileProgress(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(100, 0)
	p := makedumpfileProgress{w: &b, now: func() time.Time { return now }}
	p.report(reduce.Progress{Step: reduce.StepCheck})
	p.report(reduce.Progress{Step: reduce.StepCopy, Done: 1, Total: 4})
	now = now.Add(500 * time.Millisecond)
	p.report(reduce.Progress{Step: reduce.StepCopy, Done: 2, Total: 4})
	now = now.Add(3500 * time.Millisecond)
	p.report(reduce.Progress{Step: reduce.StepCopy, Done: 3, Total: 4})
	p.report(reduce.Progress{Step: reduce.StepCopy, Done: 4, Total: 4})
	const want = "\rCopying data                                      : [ 25.0 %] /           eta: 0s" +
		"\rCopying data                                      : [ 75.0 %] |           eta: 1s" +
		"\rCopying data                                      : [100.0 %] \\           eta: 0s"
	if b.String() != want {
		t.Errorf("progress:\n%q; want\n%q", b.String(), want)
	}
}
