package module

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/internal/elfnote"
)

// ErrNoBuildID: the kernel keeps none for the module.
var ErrNoBuildID = errors.New("the kernel keeps no build-id of this module")

const maxNotes = 64 << 10 // bytes of a module's note section; a build-id's has 36

// BuildID is a module's build-id in hexadecimal: from its note section, which the kernel keeps for /sys/module/NAME/notes, or
// from struct module, which has it since 5.14 with CONFIG_STACKTRACE_BUILD_ID.
func BuildID(v *kernel.View, m *Module) (string, error) {
	mod := v.ObjectOf("module", m.Addr)
	if mod.Has("build_id") {
		b, err := mod.Field("build_id").Bytes()
		if err != nil {
			return "", fmt.Errorf("module %s: build_id: %w", m.Name, err)
		}
		if id := bytes.TrimRight(b, "\x00"); len(id) > 0 {
			const sha1 = 20 // of all linkers' ids; one that ends with zeros is not shorter
			return hex.EncodeToString(b[:min(max(len(id), sha1), len(b))]), nil
		}
	}
	if !mod.Has("notes_attrs") {
		return "", ErrNoBuildID
	}
	notes := mod.Field("notes_attrs")
	p, err := notes.Pointer()
	if err != nil {
		return "", fmt.Errorf("module %s: notes: %w", m.Name, err)
	}
	if p == 0 {
		return "", ErrNoBuildID
	}
	count, err := noteCount(notes)
	if err != nil {
		return "", fmt.Errorf("module %s: notes: %w", m.Name, err)
	}
	var failure error
	for i := range count {
		a := notes.Field("attrs").Index(int64(i))
		name, err := a.Field("attr.name").CString(256)
		if err != nil {
			return "", fmt.Errorf("module %s: notes: %w", m.Name, err)
		}
		id, err := noteBuildID(v, a)
		if id != "" {
			return id, nil
		}
		if err != nil && failure == nil { // it may be in another of the sections
			failure = fmt.Errorf("module %s: %s: %w", m.Name, name, err)
		}
	}
	if failure != nil {
		return "", failure
	}
	return "", ErrNoBuildID
}

// noteCount is how many note sections there are.
func noteCount(notes kernel.Value) (int, error) {
	const limit = 64
	if notes.Has("notes") {
		n, err := notes.Field("notes").Uint()
		return int(min(n, limit)), err
	}
	list := notes.Field("grp.bin_attrs") // 6.14: an attribute group, whose list ends with a null pointer
	for i := range limit {
		p, err := list.Index(int64(i)).Pointer()
		if err != nil {
			return 0, err
		}
		if p == 0 {
			return i, nil
		}
	}
	return limit, nil
}

func noteBuildID(v *kernel.View, attr kernel.Value) (string, error) {
	size, err := attr.Field("size").Uint()
	if err != nil {
		return "", err
	}
	addr, err := attr.Field("private").Pointer()
	if err != nil {
		return "", err
	}
	if addr == 0 || size == 0 || size > maxNotes {
		return "", nil
	}
	b := make([]byte, size)
	if err := v.Read(b, addr); err != nil {
		return "", err
	}
	return elfnote.BuildID(b, v.ByteOrder()), nil
}
