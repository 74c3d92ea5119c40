package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/internal/treetest"
)

// importText imports one file.
func importText(t *testing.T, from, name, text string) *Imported {
	t.Helper()
	root := t.TempDir()
	path := treetest.Put(t, root, name, text)
	im, err := Import(root, from, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	if p := Parse("made", []byte(im.Text)); len(p.Problems) > 0 {
		t.Errorf("what import made does not parse: %v\n%s", p.Problems, im.Text)
	}
	if err := im.Report(&bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	return im
}

// stock are the settings of the files as they are installed, in the order of the files, without their comments: kdump 2.1.9 of
// SUSE, kdump-tools 1.8.1 and 1.10 of Debian, kdump-utils of Red Hat for x86_64. lost are keys that must be named as lost.
var stock = []struct {
	name, from, text string
	became           []string
	lost             int
}{
	{"SUSE", "suse", `## Path: System/Kernel/Kdump
KDUMP_CRASHKERNEL="auto"
KDUMP_UPDATE_BOOTLOADER="true"
KDUMP_KERNELVER=""
KDUMP_CPUS=32
KDUMP_COMMANDLINE=""
KDUMP_COMMANDLINE_APPEND=""
KDUMP_AUTO_RESIZE="false"
KDUMP_FADUMP="false"
KDUMP_FADUMP_SHELL="false"
FADUMP_COMMANDLINE_APPEND="numa=off cgroup_disable=memory cma=0"
KEXEC_OPTIONS=""
MAKEDUMPFILE_OPTIONS=""
KDUMP_IMMEDIATE_REBOOT="true"
KDUMP_TRANSFER=""
KDUMP_SAVEDIR="/var/crash"
KDUMP_KEEP_OLD_DUMPS=0
KDUMP_FREE_DISK_SIZE=64
KDUMP_VERBOSE=0
KDUMP_DUMPLEVEL=31
KDUMP_DUMPFORMAT="compressed"
KDUMP_CONTINUE_ON_ERROR="true"
KDUMP_REQUIRED_PROGRAMS=""
KDUMP_PRESCRIPT=""
KDUMP_POSTSCRIPT=""
KDUMP_NETCONFIG="auto"
KDUMP_NET_TIMEOUT=30
KDUMP_SMTP_SERVER=""
KDUMP_SMTP_USER=""
KDUMP_SMTP_PASSWORD=""
KDUMP_NOTIFICATION_TO=""
KDUMP_NOTIFICATION_CC=""
KDUMP_HOST_KEY=""
KDUMP_SSH_IDENTITY=""
`, []string{"target = /var/crash", "cpus = 32", "keep = 0", "keep-free = 64M", "level = 31", "codec = zlib", "final-action = reboot", "failure-action = reboot", "network = auto", "network-timeout = 30s"}, 0},
	{"Debian", "debian", `USE_KDUMP=1
KDUMP_KERNEL=/var/lib/kdump/vmlinuz
KDUMP_INITRD=/var/lib/kdump/initrd.img
KDUMP_COREDIR="/var/crash"
#KDUMP_FAIL_CMD="reboot -f"
#MAKEDUMP_ARGS="-c -d 31"
`, []string{"target = /var/crash"}, 0},
	{"Debian, every key", "debian", `USE_KDUMP=1
KDUMP_KERNEL=/var/lib/kdump/vmlinuz
KDUMP_INITRD=/var/lib/kdump/initrd.img
KDUMP_COREDIR="/var/crash"
KDUMP_FAIL_CMD="reboot -f"
KDUMP_DUMP_DMESG=1
KDUMP_NUM_DUMPS=3
KDUMP_COMPRESSION=xz
MAKEDUMP_ARGS="-F -c -d 31"
KDUMP_KEXEC_ARGS=""
KDUMP_CMDLINE=""
KDUMP_CMDLINE_APPEND="reset_devices systemd.unit=kdump-tools-dump.service nr_cpus=1 irqpoll usbcore.nousb"
HOSTTAG="ip"
SSH="ubuntu@kdump-netcrash"
SSH_KEY="/root/.ssh/kdump_id_rsa"
SSH_KDUMP_RETRY=16
`, []string{"target = ssh://ubuntu@kdump-netcrash/var/crash", "failure-action = reboot", "keep = 3", "codec = zlib", "level = 31", "cpus = 1",
		"cmdline-append = reset_devices irqpoll usbcore.nousb", "ssh-key = /root/.ssh/kdump_id_rsa", "network-timeout = 48s"}, 0},
	{"Red Hat", "redhat", `# comment
#raw /dev/vg/lv_kdump
auto_reset_crashkernel yes
path /var/crash
core_collector makedumpfile -l --message-level 7 -d 31
#failure_action shell
`, []string{"target = /var/crash", "codec = lzo", "level = 31"}, 0},
	{"Red Hat, sysconfig", "redhat", `KDUMP_KERNELVER=""
KDUMP_COMMANDLINE=""
KDUMP_COMMANDLINE_REMOVE="hugepages hugepagesz slub_debug quiet log_buf_len swiotlb cma hugetlb_cma ignition.firstboot"
KDUMP_COMMANDLINE_APPEND="irqpoll nr_cpus=1 reset_devices cgroup_disable=memory mce=off numa=off udev.children-max=2 panic=10 acpi_no_memhotplug nokaslr"
FADUMP_COMMANDLINE_APPEND=""
KEXEC_ARGS="-s"
KDUMP_IMG="vmlinuz"
KDUMP_IMG_EXT=""
VMCORE_CREATION_NOTIFICATION="yes"
`, []string{"cmdline-remove = hugepages hugepagesz slub_debug quiet log_buf_len swiotlb cma hugetlb_cma ignition.firstboot", "cpus = 1",
		"cmdline-append = irqpoll reset_devices cgroup_disable=memory mce=off numa=off panic=10 acpi_no_memhotplug nokaslr"}, 0},
}

// TestStock: every setting of the stock files has its outcome, and none that counts is lost.
func TestStock(t *testing.T) {
	for _, tt := range stock {
		im := importText(t, "", "etc/x", tt.text)
		if im.Distribution != tt.from {
			t.Errorf("%s: taken for %s", tt.name, im.Distribution)
		}
		var became []string
		for _, o := range im.Outcomes {
			became = append(became, o.Became...)
			if o.Fate == "" || (o.Fate != Taken && o.Fate != Unset && o.Note == "") {
				t.Errorf("%s: %s: fate %q without a reason", tt.name, o.Key, o.Fate)
			}
		}
		for _, want := range tt.became {
			if !strings.Contains("\n"+strings.Join(became, "\n")+"\n", "\n"+want+"\n") {
				t.Errorf("%s: %q is not in %q", tt.name, want, became)
			}
			if !strings.Contains(im.Text, "\n"+want+"\n") {
				t.Errorf("%s: %q is not in the file", tt.name, want)
			}
		}
		if lost := im.Lost(); len(lost) != tt.lost {
			t.Errorf("%s: lost %+v", tt.name, lost)
		}
	}
}

func TestImport(t *testing.T) {
	for _, tt := range []struct {
		from, text string
		key        string
		fate       Fate
		became     string // the last
		note       string
	}{
		{"suse", "KDUMP_SAVEDIR=\"sftp://u@h/d ftp://x:secret@y/z\"", "KDUMP_SAVEDIR", NoPlace, "target = sftp://u@h/d", "not over ftp"},
		{"suse", "KDUMP_SAVEDIR=sftp://u:secret@h/d", "KDUMP_SAVEDIR", NoPlace, "target = sftp://u@h/d", "the password is not carried over"},
		{"suse", "KDUMP_SAVEDIR=scp://h/d", "KDUMP_SAVEDIR", Taken, "target = sftp://root@h/d", ""},
		{"suse", "KDUMP_SAVEDIR=file:///var/crash", "KDUMP_SAVEDIR", Taken, "target = /var/crash", ""},
		{"suse", "KDUMP_SAVEDIR=nfs://server/export", "KDUMP_SAVEDIR", NoPlace, "", "not over nfs"},
		{"suse", "KDUMP_DUMPFORMAT=ELF", "KDUMP_DUMPFORMAT", Unneeded, "", "convert --to elf"},
		{"suse", "KDUMP_DUMPFORMAT=none", "KDUMP_DUMPFORMAT", NoPlace, "", "always the dump"},
		{"suse", "KDUMP_DUMPFORMAT=raw", "KDUMP_DUMPFORMAT", Taken, "codec = raw", ""},
		{"suse", "KDUMP_DUMPFORMAT=lzoo", "KDUMP_DUMPFORMAT", Unreadable, "", "lzo?"},
		{"suse", "KDUMP_KEEP_OLD_DUMPS=5", "KDUMP_KEEP_OLD_DUMPS", Changed, "keep = 6", "counts as well"},
		{"suse", "KDUMP_KEEP_OLD_DUMPS=-1", "KDUMP_KEEP_OLD_DUMPS", Changed, "keep = 1", "is whole"},
		{"suse", "KDUMP_IMMEDIATE_REBOOT=no", "KDUMP_IMMEDIATE_REBOOT", Taken, "final-action = shell", ""},
		{"suse", "KDUMP_IMMEDIATE_REBOOT=maybe", "KDUMP_IMMEDIATE_REBOOT", Unreadable, "", "neither"},
		{"suse", "KDUMP_NETCONFIG=eth0:static:force", "KDUMP_NETCONFIG", Changed, "network = eth0 keep", "initrd is built"},
		{"suse", "KDUMP_NETCONFIG=eth1:dhcp6", "KDUMP_NETCONFIG", Taken, "network = eth1 dhcp6", ""},
		{"suse", "KDUMP_NETCONFIG=eth1:bootp", "KDUMP_NETCONFIG", Unreadable, "", "is no mode"},
		{"suse", "KDUMP_SSH_IDENTITY=\"kdump_key other\"", "KDUMP_SSH_IDENTITY", Changed, "ssh-key = /root/.ssh/kdump_key", "first"},
		{"suse", "KDUMP_SMTP_PASSWORD=secret", "KDUMP_SMTP_PASSWORD", NoPlace, "", "no mail"},
		{"suse", "KDUMP_DUMPLEVEL=99", "KDUMP_DUMPLEVEL", Unreadable, "", "0 to 31"},
		{"suse", "KDUMP_DUMPLEVLE=31\nKDUMP_CPUS=1", "KDUMP_DUMPLEVLE", Unknown, "", "KDUMP_DUMPLEVEL?"},
		{"suse", "KDUMP_DUMPFORMAT=lzo\nMAKEDUMPFILE_OPTIONS='--message-level 1'", "MAKEDUMPFILE_OPTIONS", Unneeded, "", "is not needed"},
		{"suse", "KDUMP_KERNELVER=6.4.0-default", "KDUMP_KERNELVER", Taken, "kernel = /boot/vmlinuz-6.4.0-default", ""},
		{"suse", "KEXEC_OPTIONS=--reset-vga", "KEXEC_OPTIONS", NoPlace, "", "--reset-vga has no place"},
		{"debian", "MAKEDUMP_ARGS='-E -d 17'", "MAKEDUMP_ARGS", Changed, "level = 17", "makes an ELF file"},
		{"debian", "MAKEDUMP_ARGS='-zd 31 --eraseinfo'", "MAKEDUMP_ARGS", NoPlace, "codec = raw", "--eraseinfo has no place"},
		{"debian", "MAKEDUMP_ARGS='-c -d31 --config /etc/e'", "MAKEDUMP_ARGS", Taken, "codec = zlib", ""},
		{"debian", "KDUMP_FAIL_CMD=\"echo 'FAILED.'; /bin/bash; reboot -f\"", "KDUMP_FAIL_CMD", Changed, "failure-action = shell", "shell of kdx's"},
		{"debian", "KDUMP_FAIL_CMD='mail root'", "KDUMP_FAIL_CMD", NoPlace, "", "no command"},
		{"debian", "KDUMP_SYSCTL='kernel.panic_on_oops=1 vm.panic_on_oom=1'", "KDUMP_SYSCTL", Taken, "sysctl = vm.panic_on_oom=1", ""},
		{"debian", "KDUMP_SYSCTL=' '", "KDUMP_SYSCTL", Taken, "sysctl = none", ""},
		{"debian", "NFS=h:/x\nKDUMP_COREDIR=/var/crash", "NFS", NoPlace, "", "not over NFS"},
		{"debian", "FTP_PASSWORD=secret\nFTP=h:/x", "FTP_PASSWORD", Unneeded, "", "not over FTP"},
		{"debian", "SSH=u@2001:db8::1\nKDUMP_COREDIR=/d", "SSH", Taken, "target = ssh://u@[2001:db8::1]/d", ""},
		{"redhat", "ext4 UUID=a-b\npath /dumps\nfailure_action dump_to_rootfs", "ext4", Taken, "target = ext4:UUID=a-b:/dumps", ""},
		{"redhat", "ext4 UUID=a-b\npath /dumps\nfailure_action dump_to_rootfs", "failure_action", Changed, "target = /dumps", "one more target"},
		{"redhat", "default shell", "default", Taken, "failure-action = shell", ""},
		{"redhat", "ssh u@h # comment\nsshkey /k", "ssh", Taken, "target = ssh://u@h/var/crash", ""},
		{"redhat", "raw /dev/vg/lv", "raw", Taken, "target = raw:/dev/vg/lv", ""},
		{"redhat", "nfs h:/x\npath /y", "nfs", NoPlace, "", "not over NFS"},
		{"redhat", "nfs h:/x\npath /y", "path", Unneeded, "", "target of nfs"},
		{"redhat", "core_collector scp", "core_collector", Changed, "codec = raw", "whole memory"},
		{"redhat", "core_collector makedumpfile -F -z -d 31,1", "core_collector", Changed, "codec = zstd", "first level"},
		{"redhat", "kdump_pre /var/crash/scripts/pre.sh", "kdump_pre", Changed, "pre-hook = /var/crash/scripts/pre.sh", "whatever it returns"},
		{"redhat", "dracut_args --omit-drivers \"a b\"", "dracut_args", NoPlace, "", "without dracut"},
		{"redhat", "extra_modules gfs2 dlm", "extra_modules", Taken, "modules = gfs2 dlm", ""},
		{"redhat", "fnal_action halt\npath /x", "fnal_action", Unknown, "", "final_action?"},
	} {
		im := importText(t, tt.from, "etc/x", tt.text)
		found := false
		for _, o := range im.Outcomes {
			if o.Key != tt.key {
				continue
			}
			found = true
			last := ""
			if len(o.Became) > 0 {
				last = o.Became[len(o.Became)-1]
			}
			if o.Fate != tt.fate || last != tt.became || !strings.Contains(o.Note, tt.note) {
				t.Errorf("%s: %+v; want %s, %q, %q", tt.text, o, tt.fate, tt.became, tt.note)
			}
		}
		if !found {
			t.Errorf("%s: no outcome of %s", tt.text, tt.key)
		}
		var b bytes.Buffer
		if err := im.Report(&b); err != nil || strings.Contains(b.String()+im.Text+fmt.Sprintf("%+v", im.Outcomes), "secret") {
			t.Errorf("%s: a password is shown, or %v:\n%s", tt.text, err, b.String())
		}
	}
}

// TestShell: what a shell would read, without one.
func TestShell(t *testing.T) {
	const text = `A=1 # comment
B="$A two"
B="$B ${A}"
C='$A'\''x'
D=a\ b\
c
E=${F:-"d $A"}
export G=g
H="\$x \" \n"
B+=" end"
I=$(touch /tmp/x)
J=` + "`id`" + `
K="$I"
L=$HOME/x
M=$((1+1))
N=(1 2)
if [ -f /x ]; then O=1; fi
touch /tmp/y
P=1 touch /tmp/z
Q=${A%1}
R=$1
for i in 1 2; do S=$i; done
T=$U
`
	got, err := readShell("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	values, whys := map[string]string{}, map[string]string{}
	for _, s := range got {
		values[s.key], whys[s.key] = s.value, s.unknown
	}
	for key, want := range map[string]string{"A": "1", "B": "1 two 1 end", "C": "$A'x", "D": "a bc", "E": "d 1", "G": "g", "H": `$x " \n`} {
		if values[key] != want || whys[key] != "" {
			t.Errorf("%s = %q (%s); want %q", key, values[key], whys[key], want)
		}
	}
	for key, want := range map[string]string{"I": "runs none", "J": "runs none", "K": "$I, of which it holds a command", "L": "$HOME", "M": "does not evaluate", "N": "array", "O": "a condition",
		"": "a command in the file", "P": "a command", "Q": "does not evaluate", "R": "only a running shell", "S": "a loop", "T": "does not set"} {
		if values[key] != "" || !strings.Contains(whys[key], want) {
			t.Errorf("%s = %q, %q; want no value, and %q", key, values[key], whys[key], want)
		}
	}
	if _, err := readShell("f", []byte("A=1\nB=\"x\n")); err == nil || !strings.HasPrefix(err.Error(), "f:2:3: no shell reads this") {
		t.Errorf("a quote that is not closed: %v", err)
	}
	var doubling strings.Builder
	doubling.WriteString("A=xxxxxxxx\n")
	for range 60 {
		doubling.WriteString("A=$A$A\n")
	}
	if got, err = readShell("f", []byte(doubling.String())); err != nil || got[60].unknown == "" {
		t.Errorf("a value that doubles: %v", err)
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.Chmod(treetest.Put(t, root, name, text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Load(root, "")
	if err != nil || l.Source != Defaults {
		t.Fatalf("nothing there: %+v, %v", l, err)
	}
	write("etc/kdump.conf", "xfs LABEL=d\nfinal_action poweroff\n")
	write("etc/sysconfig/kdump", "KDUMP_COMMANDLINE_REMOVE='quiet'\n")
	write("etc/kdump/pre.d/20-b", "")
	write("etc/kdump/pre.d/10-a", "")
	if l, err = Load(root, ""); err != nil || l.Source != Foreign || len(l.Files) != 2 {
		t.Fatalf("kdump.conf: %+v, %v", l, err)
	}
	c := l.Config
	if c.FinalAction != "poweroff" || fmt.Sprint(c.CmdlineRemove) != "[quiet]" || c.Targets[0].FS != "xfs" || fmt.Sprint(c.PreHooks) != "[/etc/kdump/pre.d/10-a /etc/kdump/pre.d/20-b]" {
		t.Errorf("kdump.conf: %+v", c)
	}
	var b bytes.Buffer
	if err := l.Text(&b); err != nil || !strings.Contains(b.String(), "etc/kdump.conf:2 final_action") {
		t.Errorf("%v\n%s", err, b.String())
	}
	write("etc/kdx/capture.conf", "level = 1\n")
	if l, err = Load(root, ""); err != nil || l.Source != Own || l.Config.Level != 1 {
		t.Errorf("own file: %+v, %v", l, err)
	}
	if _, err = Load(root, filepath.Join(root, "no")); err == nil {
		t.Error("a file that is named and is not there must be an error")
	}
	if _, err := Import("", "", []string{filepath.Join(root, "etc/kdx/capture.conf")}); err == nil || !strings.Contains(err.Error(), "no key of") {
		t.Errorf("a file of nobody: %v", err)
	}
	if _, err := Import("", "sus", []string{filepath.Join(root, "etc/kdump.conf")}); err == nil || !strings.Contains(err.Error(), "suse?") {
		t.Errorf("an unknown distribution: %v", err)
	}
}

func FuzzImport(f *testing.F) {
	for _, s := range stock {
		f.Add([]byte(s.text), byte(0))
	}
	f.Add([]byte("KDUMP_SAVEDIR=sftp://u:p@h/d\nMAKEDUMPFILE_OPTIONS='-E -d 1 -'\nKDUMP_CPUS=${A:-$(x)}\n"), byte(1))
	f.Add([]byte("ssh a@b:c:d\nfailure_action dump_to_rootfs\ncore_collector makedumpfile -d\n"), byte(2))
	f.Fuzz(func(t *testing.T, text []byte, which byte) {
		fl, err := parseForeign("f", text)
		if err != nil {
			return
		}
		d := distributions[int(which)%len(distributions)]
		im := &importer{root: "/nonexistent", d: d, parsed: &Parsed{Config: Default(), Origins: map[string][]Origin{}}, values: map[string]string{}}
		im.read(fl)
		if d.finish != nil {
			d.finish(im)
		}
		r := im.result([]string{"f"})
		if p := Parse("made", []byte(r.Text)); len(p.Problems) > 0 {
			t.Fatalf("%v\n%s", p.Problems[0], r.Text)
		}
		for _, o := range r.Outcomes {
			if o.Fate == "" {
				t.Fatalf("%+v has no fate", o)
			}
		}
	})
}
