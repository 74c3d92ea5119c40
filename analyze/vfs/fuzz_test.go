package vfs_test

import (
	"context"
	"testing"
	"time"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vfs"
	"kdx/analyze/vmem"
)

// FuzzPath makes a path of dentries and mounts, then overwrites words of them: the name ends, and is of bounded length.
func FuzzPath(f *testing.F) {
	f.Add("a dir", []byte{})
	f.Add("\x00\xff\n", []byte{0, 16, 0, 1, 24, 1})
	f.Add("pipe:", []byte{2, 32, 200, 3, 8, 9, 4, 0, 5})
	f.Fuzz(func(t *testing.T, name string, words []byte) {
		m := tree{kerneltest.New(t, decls)}
		name = name[:min(len(name), 255)]
		root := m.dentry(0, "/")
		at := m.dentry(root, name)
		disk := m.dentry(0, "/")
		dir := m.dentry(disk, name)
		top := m.mount(0, root, root)
		sub := m.mount(top, at, disk)
		file := m.Alloc(64)
		m.Set(file, "file", "f_path.mnt", uint64(sub)+m.Offset("mount", "mnt"))
		m.Set(file, "file", "f_path.dentry", uint64(dir))
		objects := []vmem.Addr{root, at, disk, dir, top, sub}
		for i := 0; i+2 < len(words); i += 3 {
			to := uint64(words[i+2])
			if to >= 64 { // an address; of nobody's at the end
				to = uint64(append(objects, 0xdead000000000100, 0xffffffffffffffff)[to%8]) + to&8
			}
			m.Word(objects[int(words[i])%len(objects)]+vmem.Addr(words[i+1]%8*8), to)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		path, err := vfs.FilePath(m.ViewContext(ctx), file)
		if ctx.Err() != nil {
			t.Fatalf("the path did not end: %v", err)
		}
		if path == "" && err == nil {
			t.Fatal("neither a path nor an error")
		}
		const most = 1 << 20
		if len(path) > most {
			t.Fatalf("a path of %d bytes", len(path))
		}
	})
}
