package storage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMountOf(t *testing.T) {
	tr := machine(t, "vda", "vdb")
	one, two := tr.number("vda1"), tr.number("vdb")
	tr.write("proc/self/mountinfo", strings.Join([]string{
		"1 0 0:2 / / rw - rootfs rootfs rw",
		"22 1 " + one + " / / rw,relatime shared:1 - xfs /dev/vda1 rw,attr2,inode64",
		"23 22 0:21 / /var/with\\040space rw - btrfs /dev/vdb rw,subvolid=256,subvol=/@crash/sub",
		"24 22 0:21 /@crash/deep /srv/b rw - btrfs /dev/vdb rw,subvolid=256,subvol=/@crash",
		"25 22 " + two + " /bound/dir /var/bound rw - ext4 /dev/vdb rw,data=ordered",
		"26 22 0:30 / /tmp rw - tmpfs tmpfs rw",
		"27 22 0:31 / /net rw - nfs4 host:/x rw",
		"28 22 0:32 / /auto rw - autofs x rw",
		"29 28 " + two + " / /auto rw - ext4 /dev/vdb rw",
		"bad line",
	}, "\n"))
	tr.write("var/crash/old/x", "")
	tr.link("crash", "var/crash")
	for dir, want := range map[string]Mount{
		"/var/crash":              {"/dev/vda1", "xfs", "", "/var/crash", "/", []string{"rw", "attr2", "inode64"}},
		"/crash/new/dir":          {"/dev/vda1", "xfs", "", "/var/crash/new/dir", "/", []string{"rw", "attr2", "inode64"}},
		"/var/with space/a/":      {"/dev/vdb", "btrfs", "/", "/a", "/var/with space", []string{"rw", "subvolid=256", "subvol=/@crash/sub"}},
		"/srv/b/c":                {"/dev/vdb", "btrfs", "/@crash", "/deep/c", "/srv/b", []string{"rw", "subvolid=256", "subvol=/@crash"}},
		"/var/bound":              {"/dev/vdb", "ext4", "", "/bound/dir", "/var/bound", []string{"rw", "data=ordered"}},
		"/var/boundary/elsewhere": {"/dev/vda1", "xfs", "", "/var/boundary/elsewhere", "/", []string{"rw", "attr2", "inode64"}},
		"/auto/d":                 {"/dev/vdb", "ext4", "", "/d", "/auto", []string{"rw"}},
	} {
		got, err := MountOf(tr.root, dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", dir, d)
		}
	}
	for dir, want := range map[string]string{"/tmp/x": "memory", "/net": "another machine's", "relative": "no absolute path"} {
		if m, err := MountOf(tr.root, dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", dir, m, err, want)
		}
	}
}

func FuzzMountLine(f *testing.F) {
	f.Add("22 1 8:1 / / rw,relatime shared:1 - xfs /dev/vda1 rw,attr2")
	f.Add("23 22 0:21 /@\\040x /srv rw - btrfs /dev/vdb rw,subvol=/@\\040x")
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMountLine(line); ok {
			splitSubvol(m)
		}
	})
}
