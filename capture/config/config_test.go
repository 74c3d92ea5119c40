package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDefaults(t *testing.T) {
	c := Default()
	if len(c.Targets) != 1 || c.Targets[0].Path != "/var/crash" || c.Level != 31 || c.Codec != "zstd" || c.FinalAction != "reboot" || len(c.Sysctls) != 1 {
		t.Errorf("defaults: %+v", c)
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.Name] {
			t.Errorf("%s stands in the table twice", k.Name)
		}
		seen[k.Name] = true
		if k.Help == "" || k.Form == "" || len(k.Default) == 0 && len(k.Examples) == 0 {
			t.Errorf("%s: no help, form, default or example", k.Name)
		}
		if got := k.get(c); fmt.Sprint(got) != fmt.Sprint(k.Default) {
			t.Errorf("%s: default %q is shown as %q", k.Name, k.Default, got)
		}
		for _, v := range append(slices.Clone(k.Default), k.Examples...) {
			if err := k.set(Default(), v); err != nil && !strings.Contains(err.Error(), "already") {
				t.Errorf("%s = %s: %v", k.Name, v, err)
			}
		}
	}
}

// TestDefaultFile: every key stands in it, it parses, and so it does with all keys in force.
func TestDefaultFile(t *testing.T) {
	text := DefaultFile()
	if p := Parse("f", []byte(text)); len(p.Problems) > 0 || len(p.Origins) > 0 {
		t.Errorf("the default file: %v, %v", p.Problems, p.Origins)
	}
	var active strings.Builder
	for line := range strings.Lines(text) {
		if key, _, ok := strings.Cut(strings.TrimPrefix(line, "#"), " = "); ok && findKey(key) != nil && line[1] != ' ' {
			line = line[1:]
		}
		active.WriteString(line)
	}
	p := Parse("f", []byte(active.String()))
	if len(p.Problems) > 0 {
		t.Fatalf("the default file with all keys in force: %v\n%s", p.Problems[0], active.String())
	}
	for _, k := range keys {
		if len(p.Origins[k.Name]) == 0 {
			t.Errorf("%s does not stand in the default file", k.Name)
		}
		if !strings.Contains(Doc(), "| `"+k.Name+"`") {
			t.Errorf("%s does not stand in the docs", k.Name)
		}
	}
	again := Parse("f", []byte(render(p, nil)))
	if len(again.Problems) > 0 {
		t.Fatal(again.Problems[0])
	}
	for i, s := range again.Settings() {
		if was := p.Settings()[i]; fmt.Sprint(was.Values) != fmt.Sprint(s.Values) {
			t.Errorf("%s: %q became %q", s.Key, was.Values, s.Values)
		}
	}
}

func TestParse(t *testing.T) {
	p := Parse("f", []byte("\ufeff# a comment\r\n  level=17 # of makedumpfile\r\n\ntarget = ext4:UUID=a1:/dumps\ntarget = sftp://d@h:2222/x/../y\n"))
	if len(p.Problems) != 1 || p.Problems[0].Line != 5 {
		t.Fatalf("problems: %v", p.Problems)
	}
	if p.Config.Level != 17 || len(p.Config.Targets) != 1 || p.Config.Targets[0].Device != "UUID=a1" {
		t.Errorf("config: %+v", p.Config)
	}
	for _, tt := range []struct{ text, want string }{
		{"level = 32", `f:1:9: level: "32" is no number from 0 to 31; it wants a number from 0 to 31`},
		{"levle = 31", `f:1:1: unknown key "levle"; level?`},
		{"  targets = /x", `f:1:3: unknown key "targets"; target?`},
		{"final_action = halt", `f:1:1: unknown key "final_action"; final-action?`},
		{"KDUMP_SAVEDIR = /x", `f:1:1: unknown key "KDUMP_SAVEDIR"; that is a key of SUSE's kdump: kdx capture config import reads its files`},
		{"zzz = 1", `f:1:1: unknown key "zzz"; kdx capture config show --default lists all keys`},
		{"\nlevel 31", `f:2:1: "level 31" is no setting; a line is KEY = VALUE, or a comment behind #`},
		{"level =", `f:1:8: level has no value; it wants a number from 0 to 31; without the line it has its default`},
		{"level = 1\nlevel = 2", "f:2:1: level stands here again; first in line 1; it can stand once"},
		{`target = "/var/crash"`, `f:1:10: "/var/crash" stands in quotes, and values take none; write target = /var/crash`},
		{"kernel = $(ls)", "f:1:10: kernel holds a shell expression: $(ls); values are taken as they stand; nothing is run and no variable is filled in"},
		{"kernel = `ls`", "holds a shell expression"},
		{"kernel = ${K}", "holds a shell expression"},
		{"final-action = rebot", `final-action: "rebot" is not there; it is one of reboot, poweroff, halt, shell (reboot?)`},
		{"codec = zlib:10", `"10" is no number from 1 to 9`},
		{"codec = lzo:1", "lzo has no levels"},
		{"hook-timeout = 30", `"30" has no unit; 30s is 30 seconds`},
		{"hook-timeout = -1s", "is no time"},
		{"keep-free = 64MB", `"64MB" is no size`},
		{"target = nfs://h/x", "kdx does not save over nfs"},
		{"target = sftp://u:secret@h/x", "a password stands before the @"},
		{"target = sftp://u:se/secret@h/x", "a password stands before the @"},
		{"target = sftp://u:secret$(x)@h/x", "holds a shell expression"},
		{`target = "sftp://u:secret@h/x"`, "write target = sftp://u:…@h/x"},
		{"target sftp://u:secret@h/x", "is no setting"},
		{"target = ext3:/dev/sda1:/x", `"ext3" is no kind of target`},
		{"target = ext4:/dev/sda1", "the directory is missing"},
		{"target = ext4:sda1:/x", `"sda1" is no device`},
		{"target = xfs:/dev/sda1:/x subvol=a", "only btrfs has an option"},
		{"target = sftp://h", "the directory is missing"},
		{"target = sftp://-oProxy/x", "is no host"},
		{"target = sftp://h:0/x", "is no port"},
		{"target = /a\ntarget = /a", "/a is a target already"},
		{"target = a", "a target is /DIRECTORY"},
		{"network = eth0", "a network is auto"},
		{"network = eth0 bootp", `"bootp" is no mode`},
		{"network = eth0 static 1.2.3", `"1.2.3" is no ADDRESS/BITS`},
		{"network = eth0 dhcp gateway 1.2.3.4", `"gateway" is no option of dhcp`},
		{"network = eth0 dhcp vlan 5000", "is no VLAN"},
		{"network = eth0 dhcp vlan", `nothing follows "vlan"`},
		{"network = averylongnameforanic dhcp", "is no name of an interface"},
		{"watchdog = /dev/sda", "is not auto, off or a device"},
		{"sysctl = panic", "is no NAME=VALUE"},
		{"pre-hook = ls -l", "absolute path"},
		{"console = /dev/ttyS0", "is no console"},
		{"level = 3\x001", "control character"},
		{"level = \xff", "control character"},
	} {
		p := Parse("f", []byte(tt.text))
		if len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.text, p.Problems, tt.want)
		}
		for _, pr := range p.Problems {
			if strings.Contains(pr.Error(), "secret") {
				t.Errorf("%v shows a password", pr)
			}
		}
	}
	if p := Parse("f", make([]byte, maxFile+1)); len(p.Problems) != 1 {
		t.Errorf("a file that is too long: %v", p.Problems)
	}
}

func TestTargets(t *testing.T) {
	for _, tt := range []struct{ in, out string }{
		{"/var//crash/", "/var/crash"},
		{"ext4:/dev/nvme0n1:/dumps", "ext4:/dev/nvme0n1:/dumps"},
		{"xfs:LABEL=dumps:/", "xfs:LABEL=dumps:/"},
		{"ext4:/dev/disk/by-path/pci-0000:00:1f.2-ata-1:/d", "ext4:/dev/disk/by-path/pci-0000:00:1f.2-ata-1:/d"},
		{"btrfs:UUID=1-2:/d  subvol=@crash", "btrfs:UUID=1-2:/d subvol=@crash"},
		{"raw:PARTLABEL=dump", "raw:PARTLABEL=dump"},
		{"sftp://h/d", "sftp://root@h/d"},
		{"sftp://h:222/d@x", "sftp://root@h:222/d@x"},
		{"ssh://u@[2001:db8::1]:2222/d", "ssh://u@[2001:db8::1]:2222/d"},
		{"ssh://u@[2001:db8::1]/d", "ssh://u@[2001:db8::1]/d"},
		{"ssh://u@2001:db8::1/d", "ssh://u@[2001:db8::1]/d"},
		{"sftp://u@h.example.com:22/", "sftp://u@h.example.com/"},
	} {
		got, err := ParseTarget(tt.in)
		if err != nil || got.String() != tt.out {
			t.Errorf("%s: %s, %v; want %s", tt.in, got, err, tt.out)
			continue
		}
		if again, err := ParseTarget(got.String()); err != nil || again != got {
			t.Errorf("%s: read again it is %+v, %v", got, again, err)
		}
	}
}

func TestMissing(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"etc/kdx", "dumps"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/kdx/key"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p := Parse("f", []byte("target = /dumps\nssh-key = /etc/kdx/key\npre-hook = /bin/no -x\n"))
	got := p.Missing(root)
	if len(got) != 2 || got[0].Line != 2 || !strings.Contains(got[0].Error(), "chmod 600") || got[1].Line != 3 || !strings.Contains(got[1].Error(), "f:3: pre-hook: /bin/no: no such file") {
		t.Errorf("missing: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(DefaultFile()))
	f.Add([]byte("target = btrfs:UUID=1:/d subvol=x\nnetwork = eth0 static 192.0.2.1/24 gateway 192.0.2.2 vlan 3\nredact=a:b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := Parse("f", text)
		if len(p.Problems) > 0 {
			return
		}
		out := render(p, nil)
		again := Parse("f", []byte(out))
		if len(again.Problems) > 0 {
			t.Fatalf("%v\n%s", again.Problems[0], out)
		}
		was, is := p.Settings(), again.Settings()
		for i := range is {
			if fmt.Sprint(was[i].Values) != fmt.Sprint(is[i].Values) {
				t.Fatalf("%s: %q became %q", is[i].Key, was[i].Values, is[i].Values)
			}
		}
	})
}
