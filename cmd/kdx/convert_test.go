package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"kdx/analyze/reduce"
)

func TestConvertFlags(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{"vmcore": "KDUMP   ", "part2": "KDUMP   ", "vmlinux": "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		in   string
		want func(f *convertFlags) bool
		err  string
	}{
		{"vmcore out", func(f *convertFlags) bool {
			return f.job.Target.String() == "kdump" && f.job.Codec == "zstd" && f.job.AsIs && f.job.Level == 0 && f.outputs[0] == "out"
		}, ""},
		{"--codec zlib:6 -d 31 vmcore out", func(f *convertFlags) bool {
			return f.job.Codec == "zlib" && f.job.CodecLevel == 6 && !f.job.AsIs && f.job.Level == 31
		}, ""},
		{"--to flat vmcore -", func(f *convertFlags) bool { return f.flatten && f.job.Target.String() == "kdump" }, ""},
		{"--to flat:elf vmcore -", func(f *convertFlags) bool { return f.flatten && f.job.Target.String() == "elf" && f.job.Codec == "" }, ""},
		{"--to lkcd --codec gzip --lkcd-version 8 vmcore out", func(f *convertFlags) bool { return f.job.Codec == "zlib" && f.job.LKCDVersion == 8 }, ""},
		{"vmlinux vmcore part2 out", func(f *convertFlags) bool { return f.vmlinux == "vmlinux" && len(f.inputs) == 2 }, ""},
		{"--split 3 vmcore out", func(f *convertFlags) bool { return strings.Join(f.outputs, " ") == "out.1 out.2 out.3" }, ""},
		{"--dry-run vmcore", func(f *convertFlags) bool { return len(f.inputs) == 1 && f.outputs == nil }, ""},
		{"--dry-run vmcore out", func(f *convertFlags) bool { return len(f.inputs) == 1 && f.outputs == nil }, ""},
		{"--mem-usage vmcore part2", func(f *convertFlags) bool { return len(f.inputs) == 2 && f.outputs == nil }, ""},
		{"--memory 16m --limit 2g vmcore out", func(f *convertFlags) bool { return f.job.Memory == 16<<20 && f.conversion.limit == 2<<30 }, ""},
		{"vmcore", nil, "what becomes of the dump"},
		{"", nil, "what becomes of the dump"},
		{"vmlinux out", nil, "no dump is named"},
		{"-x vmlinux vmlinux vmcore out", nil, "both a vmlinux"},
		{"nothing out", nil, "no such file"},
		{"--to zip vmcore out", nil, `no output form "zip"`},
		{"--to flat:raw vmcore out", nil, "there is no flattened raw"},
		{"--to elf --codec zstd vmcore out", nil, "stores pages as they are"},
		{"--to lkcd --codec zstd vmcore out", nil, "only in zlib, rle, raw"},
		{"--codec lz4 vmcore out", nil, "only in zstd"},
		{"--codec zstd:x vmcore out", nil, "is no level"},
		{"--lkcd-version 8 vmcore out", nil, "goes with --to lkcd"},
		{"--to elf --split 2 vmcore out", nil, "only kdump can be split"},
		{"--split 2 vmcore -", nil, "not to stdout"},
		{"--level 32 vmcore out", nil, "levels go from 0 to 31"},
		{"--jobs -1 vmcore out", nil, "positive numbers"},
		{"--progress loud vmcore out", nil, "auto, json or none"},
		{"--mem-usage --dry-run vmcore", nil, "writes nothing"},
	} {
		f, err := planOf(t, tt.in)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: %v; want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || !tt.want(f) {
			t.Errorf("%q = %+v, %v", tt.in, f, err)
		}
	}
}

// planOf parses a command line of kdx convert without running it.
func planOf(t *testing.T, line string) (*convertFlags, error) {
	t.Helper()
	var f convertFlags
	c := f.command(stdio{})
	var err error
	c.RunE = func(_ *cobra.Command, args []string) error {
		err = f.plan(args)
		return nil
	}
	c.SetArgs(append([]string{}, strings.Fields(line)...))
	if perr := c.Execute(); perr != nil {
		t.Fatalf("%q: %v", line, perr)
	}
	return &f, err
}

func TestMeter(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(0, 0)
	m := newMeter(&b, false)
	m.now = func() time.Time { return now }
	m.report(reduce.Progress{Step: reduce.StepSelect, Done: 1, Total: 2})
	m.report(reduce.Progress{Step: reduce.StepCopy, Done: 0, Total: 1000})
	now = now.Add(2 * time.Second)
	m.report(reduce.Progress{Step: reduce.StepCopy, Done: 250, Total: 1000, In: 250 << 12, Out: 200e3})
	m.end()
	const want = "\rexcluding pages 50%\x1b[K\rcopying 0%\x1b[K\rcopying 25% of 4.1 MB, 512.0 kB/s, 6s left, 200.0 kB written\x1b[K\r\x1b[K"
	if b.String() != want {
		t.Errorf("meter wrote %q; want %q", b.String(), want)
	}
	b.Reset()
	m = newMeter(&b, true)
	m.now = func() time.Time { return now }
	m.report(reduce.Progress{Step: reduce.StepCopy, Done: 250, Total: 1000})
	now = now.Add(time.Second / 2)
	m.report(reduce.Progress{Step: reduce.StepCopy, Done: 500, Total: 1000})
	now = now.Add(time.Second / 2)
	m.report(reduce.Progress{Step: reduce.StepCopy, Done: 1000, Total: 1000, In: 1000 << 12})
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("meter wrote %q; want two lines", b.String())
	}
	var doc struct {
		Done uint64   `json:"pages_done"`
		Left *float64 `json:"seconds_left"`
		Rate *float64 `json:"bytes_per_second"`
	}
	if err := json.Unmarshal([]byte(lines[1]), &doc); err != nil || doc.Done != 1000 || doc.Left == nil || *doc.Left != 0 || *doc.Rate != 4096000 {
		t.Errorf("meter wrote %s, %v", lines[1], err)
	}
}

func TestLimit(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := limitFile(f, 10)
	if n, err := l.WriteAt([]byte("12345678"), 4); n != 6 || !errors.Is(err, errLimit) || !full(err) {
		t.Errorf("WriteAt over the limit = %d, %v; want 6 bytes and errLimit", n, err)
	}
	if n, err := l.WriteAt([]byte("ab"), 0); n != 2 || err != nil {
		t.Errorf("WriteAt below the limit = %d, %v", n, err)
	}
	if n, err := l.WriteAt([]byte("ab"), 10); n != 0 || !errors.Is(err, errLimit) {
		t.Errorf("WriteAt behind the limit = %d, %v", n, err)
	}
	var b bytes.Buffer
	s := limitStream(&b, 5)
	if _, err := s.Write([]byte("1234")); err != nil {
		t.Error(err)
	}
	if _, err := s.Write([]byte("56")); !errors.Is(err, errLimit) {
		t.Errorf("Write over the limit = %v", err)
	}
}
